"""Scheduler: jobs for later become due when their time has come, and those that are late expire.

todo → cancelled, for jobs that have not begun by their time. It acts on the server's clock, at the time of
the next job it knows of, and otherwise once per polling interval. It may act at any time: making a job due
claims nothing.
"""

import asyncio
from collections.abc import Callable

from taskq import queries
from taskq.queries.job_schedule import Promoted
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

_LARGEST = 1000

# Another worker with the same time goes first; this one makes sure.
_SECOND = 0.03  # seconds


class Scheduler(Service):
    """Makes jobs due or cancels them, and wakes the producer.

    Args:
        connection: A connection, which may be shared.
        registration: Whose clock and peers.
        polling_interval: Seconds after which it checks without having been notified.
        due: Told that jobs have become due, or are out of the way.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        polling_interval: float,
        due: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._polling_interval = polling_interval
        self._due = due
        self._next: float | None = None
        self._wakeup = Wakeup()

    def expect(self, server_time: float) -> None:
        """A job is due or expires at that time, in seconds since 1970 by the server's clock."""
        if self._next is None or server_time < self._next:
            self._next = server_time
            self._wakeup.set()

    async def catch_up(self) -> None:
        """Make due all that is, and cancel all that has expired, however many jobs that are."""
        while _may_be_more(await self.promote()):
            pass

    async def promote(self) -> Promoted:
        """Make due what is, and cancel what has expired."""
        # What is announced while the statement runs may be unknown to its answer.
        self._next = None
        promoted = await self._connection.retry(queries.job_schedule.promote_jobs, _LARGEST)
        if promoted.next_at is not None:
            self.expect(promoted.next_at.timestamp())
        if promoted.jobs or promoted.expired:
            self._due()
        return promoted

    async def loop(self) -> None:
        """Promote jobs, and wait until the next one is due."""
        while True:
            promoted = await self.promote()
            if promoted.skipped:
                await asyncio.sleep(_SECOND)
            elif not _may_be_more(promoted):
                await self._wait()

    async def _wait(self) -> None:
        slept = 0.0
        while slept < self._polling_interval:
            left = self._polling_interval - slept
            if self._next is not None:
                due_in = self._registration.seconds_until(self._next)
                if self._registration.rank(str(self._next)):
                    due_in += _SECOND
                if due_in <= 0:
                    return
                left = min(left, due_in)
            began = self._registration.now()
            await self._wakeup.wait(left)
            slept += self._registration.now() - began


def _may_be_more(promoted: Promoted) -> bool:
    return promoted.jobs >= _LARGEST or promoted.expired >= _LARGEST
