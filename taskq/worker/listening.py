"""Listening: notifications from the database, each told to the part that it is for.

It moves nothing. It may be deaf for a while: what it missed is made up for when it hears again, and by
the polls. What notifications say is written in the first migration.
"""

from taskq.manager import operations
from taskq.worker.aborting import Aborting
from taskq.worker.identity import Identity
from taskq.worker.link import Backoff, Link
from taskq.worker.part import Part
from taskq.worker.producer import Producer
from taskq.worker.scheduling import Scheduling

# A connection that lives this long is no bad moment any more.
_HEARS = 5.0  # seconds


class Listening(Part):
    """Hears that there are jobs, now or later, and that jobs are to be aborted.

    Args:
        link: A connection of its own, straight to the server or through a pooler that keeps sessions.
        identity: For whom.
        ping_interval: Seconds between two signs of life that it asks the server for.
        producer: Told of jobs.
        scheduling: Told of jobs for later.
        aborting: Told of requests to abort.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        *,
        ping_interval: float,
        producer: Producer,
        scheduling: Scheduling,
        aborting: Aborting,
    ) -> None:
        self._link = link
        self._identity = identity
        self._ping_interval = ping_interval
        self._producer = producer
        self._scheduling = scheduling
        self._aborting = aborting
        self._heard_since: float | None = None

    async def loop(self) -> None:
        """Hear until cancelled, and connect again when the connection is lost."""
        backoff = Backoff()
        failed = False
        while True:
            try:
                await self._hear()
            except Exception as error:
                # One that was lost at once is the same bad moment still.
                if self._heard_for() >= _HEARS:
                    backoff, failed = Backoff(), False
                if not failed:
                    self._link.report(error)
                failed = True
                await backoff.wait()

    async def _hear(self) -> None:
        self._heard_since = None
        async with self._link.connected() as connection:
            await self._link.ask(connection, operations.listen)
            self._heard_since = self._identity.now()
            # What was said while nobody heard, also for others that commit only later.
            self._producer.notified(0)
            self._aborting.wake()
            self._scheduling.expect(0)
            while True:
                async for notification in connection.notifies(timeout=self._ping_interval):
                    self._tell(notification.payload)
                await self._link.ask(connection, operations.ping)

    def _heard_for(self) -> float:
        return 0 if self._heard_since is None else self._identity.now() - self._heard_since

    def _tell(self, payload: str) -> None:
        kind, _, rest = payload.partition(" ")
        key, _, queue = rest.partition(" ")
        match kind:
            case "ready" if self._identity.serves(queue):
                self._producer.notified(self._identity.turn(key, queue), queue)
            case "later" if self._identity.serves(queue):
                self._scheduling.expect(float(key))
            case "abort" if key == str(self._identity.id):
                self._aborting.wake()
