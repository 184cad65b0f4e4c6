"""Notifier: notifications from the database, each passed to the service that it is for.

It moves nothing. It may miss some for a while: that is made up for when it listens again, and by
the polls. What notifications say is written in the first migration.
"""

from taskq import queries
from taskq.database.backoff import Backoff
from taskq.worker.canceller import Canceller
from taskq.worker.connection import WorkerConnection
from taskq.worker.producer import Producer
from taskq.worker.registration import Registration
from taskq.worker.scheduler import Scheduler
from taskq.worker.service import Service

# A connection that lives this long is no bad moment any more.
_STEADY_AFTER = 5.0  # seconds


class Notifier(Service):
    """Hears that there are jobs, now or later, and that jobs are to be aborted.

    Args:
        connection: A connection of its own, straight to the server or through a pooler that keeps sessions.
        registration: For whom.
        ping_interval: Seconds between two signs of life that it asks the server for.
        producer: Told of jobs.
        scheduler: Told of jobs for later.
        canceller: Told of requests to abort.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        ping_interval: float,
        producer: Producer,
        scheduler: Scheduler,
        canceller: Canceller,
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._ping_interval = ping_interval
        self._producer = producer
        self._scheduler = scheduler
        self._canceller = canceller
        self._listening_since: float | None = None

    async def loop(self) -> None:
        """Listen until cancelled, and connect again when the connection is lost."""
        backoff = Backoff()
        failed = False
        while True:
            try:
                await self._listen()
            except Exception as error:
                # One that was lost at once is the same bad moment still.
                if self._listening_for() >= _STEADY_AFTER:
                    backoff, failed = Backoff(), False
                if not failed:
                    self._connection.report(error)
                failed = True
                await backoff.wait()

    async def _listen(self) -> None:
        self._listening_since = None
        async with self._connection.connected() as connection:
            await self._connection.ask(connection, queries.session.listen)
            self._listening_since = self._registration.now()
            # What was notified while it did not listen, also for others that commit only later.
            self._producer.notified(0)
            self._canceller.wake()
            self._scheduler.expect(0)
            while True:
                async for notification in connection.notifies(timeout=self._ping_interval):
                    self._tell(notification.payload)
                await self._connection.ask(connection, queries.session.ping)

    def _listening_for(self) -> float:
        return (
            0 if self._listening_since is None else self._registration.now() - self._listening_since
        )

    def _tell(self, payload: str) -> None:
        kind, _, rest = payload.partition(" ")
        key, _, queue = rest.partition(" ")
        match kind:
            case "ready" if self._registration.serves(queue):
                self._producer.notified(self._registration.rank(key, queue), queue)
            case "later" if self._registration.serves(queue):
                self._scheduler.expect(float(key))
            case "abort" if key == str(self._registration.id):
                self._canceller.wake()
