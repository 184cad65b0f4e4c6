"""Producer: todo → doing.

One statement at a time, for as many jobs as there is capacity. It may not act while there is none, as when
the heartbeat is overdue, and once the worker stops.
"""

import asyncio
from collections.abc import Callable, Sequence

from taskq import queries
from taskq.job import Job
from taskq.queries.connection import Connection
from taskq.queries.job_claim import LARGEST_CLAIM
from taskq.telemetry import JobsClaimed, Telemetry
from taskq.worker.claim_cursor import ClaimCursor
from taskq.worker.claim_timing import Check, Claim, ClaimTiming, Wait
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

# How long a worker that stops waits for the answer of a claim.
_LAST_ANSWER_WITHIN = 3.0  # seconds


class Producer(Service):
    """Claims jobs when ``ClaimTiming`` says so.

    Args:
        connection: A connection of its own.
        registration: For whom.
        polling_interval: Seconds after which it claims without having been woken.
        telemetry: Told of each claim.
        capacity: Says how many jobs may be claimed now.
        run_length: Says how many jobs of one lock may be claimed at once.
        deliver: Takes what was claimed, which may be nothing.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        polling_interval: float,
        telemetry: Telemetry,
        capacity: Callable[[], int],
        run_length: Callable[[], int],
        deliver: Callable[[Sequence[Job]], None],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._capacity = capacity
        self._run_length = run_length
        self._deliver = deliver
        self._timing = ClaimTiming(polling_interval=polling_interval)
        self._cursor = ClaimCursor()
        # Of all queues, in order: as of the last claim from the start, and those that were notified since.
        self._ready_queues: dict[str, None] = {}
        self._wakeup = Wakeup()
        self._ending = False
        self.in_flight: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether something has happened since the last claim began that a claim could find."""
        return self._timing.is_pending(self._registration.now())

    @property
    def runs(self) -> int:
        """How many claims and checks there were; one has ended when there is another."""
        return self._connection.runs

    def wake(self) -> None:
        """There may be jobs: claim, now or as soon as there is capacity."""
        self._timing.wake()
        self._wakeup.set()

    def notified(self, rank: int, queue: str | None = None) -> None:
        """There are jobs, as a notification says.

        Args:
            rank: How many workers come before this one.
            queue: Where; None: anywhere.
        """
        if queue is not None:
            self._ready_queues[queue] = None
        self._timing.notified(self._registration.now(), rank, queue)
        self._wakeup.set()

    def more_capacity(self) -> None:
        """There is more capacity than there was."""
        # Each job that ends comes here; a claim under way is followed by a look at the capacity anyway.
        if not self.in_flight and self.is_pending:
            self._wakeup.set()

    async def end(self) -> None:
        """Claim no more. What a claim under way brings is still delivered, if it comes soon."""
        self._ending = True
        self._wakeup.set()
        if self._task is not None and self.in_flight:
            await asyncio.wait([self._task], timeout=_LAST_ANSWER_WITHIN)
        await self.stop()

    async def loop(self) -> None:
        """Claim, check or wait, as the timing says."""
        while not self._ending:
            capacity = self._capacity()
            match self._timing.next(self._registration.now(), capacity):
                case Claim(queue):
                    await self._claim(min(capacity, LARGEST_CLAIM), queue)
                case Check():
                    await self._check()
                case Wait(until):
                    now = self._registration.now()
                    await self._wakeup.wait(None if until is None else until - now)

    async def _claim(self, limit: int, queue: str | None) -> None:
        began = self._registration.now()
        self._timing.claim_began(began, queue)
        from_start = self._cursor.is_at_start(began)

        def claim(connection: Connection) -> list[Job]:
            # Each time it is tried: the worker may have registered again meanwhile.
            worker_id, served = self._registration.id, self._registration.queues
            if queue is None and served is None and from_start:
                jobs, queues = queries.job_claim.claim_from_ready_queues(
                    connection, worker_id, limit, run_length=self._run_length()
                )
                self._ready_queues = dict.fromkeys(queues)
                return jobs
            ranges = self._cursor.ranges(
                [queue] if queue is not None else served or self._ready_queues
            )
            return queries.job_claim.claim_jobs(
                connection, worker_id, limit, ranges=ranges, run_length=self._run_length()
            )

        self.in_flight = True
        try:
            jobs = await self._connection.retry(claim)
        finally:
            self.in_flight = False
        now = self._registration.now()
        self._timing.claim_ended(
            now,
            jobs=len(jobs),
            limit=limit,
            from_start=from_start,
            is_alone=self._registration.is_alone,
        )
        self._cursor.see(jobs, asked=limit, began=began, now=now)
        self._telemetry.emit(
            JobsClaimed(
                worker_id=self._registration.id, jobs=jobs, limit=limit, seconds=now - began
            )
        )
        self._deliver(jobs)

    async def _check(self) -> None:
        self._timing.check_began()
        seen = await self._connection.retry(
            queries.job_claim.has_ready_jobs, self._registration.queues
        )
        self._timing.check_ended(self._registration.now(), seen)
        if not seen.ready:
            # As a claim would have: a worker that does not wait may end by it.
            self._deliver(())
