"""Producer: todo → doing.

One statement at a time, for as many jobs as there is capacity. It may not act while there is none, as when
the heartbeat is overdue, and once the worker stops.
"""

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from taskq.job import Job
from taskq.manager import operations
from taskq.manager.working import LARGEST_CLAIM
from taskq.worker.claim_timing import Check, Claim, ClaimTiming, Wait
from taskq.worker.identity import Identity
from taskq.worker.link import Link
from taskq.worker.marks import Marks
from taskq.worker.part import Alarm, Part

# How long a worker that stops waits for the answer of a claim.
_LAST_ANSWER_WITHIN = 3.0  # seconds


class Producer(Part):
    """Claims jobs when ``ClaimTiming`` says so.

    Args:
        link: A connection of its own.
        identity: For whom.
        polling_interval: Seconds after which it claims without having been woken.
        capacity: Says how many jobs may be claimed now.
        deliver: Takes what was claimed, which may be nothing.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        *,
        polling_interval: float,
        capacity: Callable[[], int],
        deliver: Callable[[Sequence[Job]], None],
    ) -> None:
        self._link = link
        self._identity = identity
        self._capacity = capacity
        self._deliver = deliver
        self._timing = ClaimTiming(polling_interval=polling_interval)
        self._marks = Marks()
        self._alarm = Alarm()
        self._ending = False
        self.in_flight: bool = False

    @property
    def is_pending(self) -> bool:
        """Whether something has happened since the last claim began that a claim could find."""
        return self._timing.is_pending(self._identity.now())

    @property
    def is_recheck_planned(self) -> bool:
        """Whether jobs may still appear without a notification."""
        return self._timing.is_recheck_planned

    @property
    def runs(self) -> int:
        """How many claims and checks there were; one has ended when there is another."""
        return self._link.runs

    def wake(self) -> None:
        """There may be jobs: claim, now or as soon as there is capacity."""
        self._timing.wake()
        self._alarm.ring()

    def notified(self, rank: int, queue: str | None = None) -> None:
        """There are jobs, as a notification says.

        Args:
            rank: How many workers come before this one.
            queue: Where; None: anywhere.
        """
        self._timing.notified(self._identity.now(), rank, queue)
        self._alarm.ring()

    def more_capacity(self) -> None:
        """There is more capacity than there was."""
        if self.is_pending:
            self._alarm.ring()

    async def end(self) -> None:
        """Claim no more. What a claim under way brings is still delivered, if it comes soon."""
        self._ending = True
        self._alarm.ring()
        if self._task is not None and self.in_flight:
            await asyncio.wait([self._task], timeout=_LAST_ANSWER_WITHIN)
        await self.stop()

    async def loop(self) -> None:
        """Claim, check or wait, as the timing says."""
        while not self._ending:
            capacity = self._capacity()
            match self._timing.next(self._identity.now(), capacity):
                case Claim(queue):
                    await self._claim(min(capacity, LARGEST_CLAIM), queue)
                case Check():
                    await self._check()
                case Wait(until):
                    now = self._identity.now()
                    await self._alarm.wait(None if until is None else until - now)

    async def _claim(self, limit: int, queue: str | None) -> None:
        began = self._identity.now()
        self._timing.claim_began(began, queue)
        marks = self._marks.at(began)

        def claim(connection: Connection) -> list[Job]:
            # Each time it is tried: the worker may have registered again meanwhile.
            worker_id, queues = self._identity.id, self._identity.queues
            return operations.claim_jobs(
                connection, worker_id, queues, limit, marks=marks, heard=queue
            )

        self.in_flight = True
        try:
            jobs = await self._link.insist(claim)
        finally:
            self.in_flight = False
        now = self._identity.now()
        self._timing.claim_ended(
            now,
            jobs=len(jobs),
            limit=limit,
            has_locks=any(job.lock is not None for job in jobs),
            from_start=not marks,
            is_alone=self._identity.is_alone,
        )
        self._marks.see(jobs, asked=limit, began=began, now=now)
        self._deliver(jobs)

    async def _check(self) -> None:
        self._timing.check_began()
        seen = await self._link.insist(operations.has_ready_jobs, self._identity.queues)
        self._timing.check_ended(self._identity.now(), seen)
        if not seen.ready:
            # As a claim would have: a worker that does not wait may end by it.
            self._deliver(())
