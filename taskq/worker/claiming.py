"""Claiming: todo → doing.

One statement at a time, for as many jobs as have room. It may not act while nothing has room, as when the
heartbeat is overdue, and once the worker stops.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from taskq.job import Job
from taskq.manager import operations
from taskq.manager.outcome import Look
from taskq.manager.working import LARGEST_CLAIM
from taskq.worker.identity import Identity
from taskq.worker.link import Link
from taskq.worker.marks import Marks
from taskq.worker.part import Alarm, Part

# Long enough for the worker that goes first to have claimed, short enough for nobody to notice. On a
# slow network or machine its claim takes about as many times longer as the claims here do.
_PEEK_AFTER = 0.03  # seconds
_CLAIMS = 3  # claims

# While jobs keep coming one by one, a look finds the one that somebody else is just about to claim:
# so it is put off, to this many times the wait at most.
_PUT_OFF = 3

# Of transactions that defer at once only one notifies: whoever hears it looks again until those that
# were under way then have ended, first after this time, and then each time after twice as long.
_SETTLE_AFTER = 0.005  # seconds
_SETTLE_EVERY = 1.0  # seconds at most

# After so many looks in a row that found something, any worker claims, and not only the next in turn.
_LOOKS = 3

# How long a worker that stops waits for the answer of a claim.
_LAST_ANSWER_WITHIN = 3.0  # seconds


class Claiming(Part):
    """Claims jobs whenever there may be some and there is room for them.

    It claims again only when something has happened that a claim could find: a notification, a lock
    that went free, the poll's time, or claims that got all they asked for. A wake-up during a claim
    leads to another one. Where a claim would probably be in vain it looks first, without writing. Where all
    it knows of is a notification for one queue, it claims there alone, which is quicker, unless the last jobs
    it claimed had locks: then that would be in vain.

    Args:
        link: A connection of its own.
        identity: For whom.
        polling_interval: Seconds after which it looks without having been woken.
        room: Says how many jobs may be claimed now.
        deliver: Takes what was claimed, which may be nothing.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        *,
        polling_interval: float,
        room: Callable[[], int],
        deliver: Callable[[Sequence[Job]], None],
    ) -> None:
        self._link = link
        self._identity = identity
        self._polling_interval = polling_interval
        self._room = room
        self._deliver = deliver
        self._alarm = Alarm()
        self._promising = True
        self._heard: str | None = None
        self._locks = False
        self._peeking: asyncio.TimerHandle | None = None
        self._peek_by = 0.0
        self._turn = 0
        self._looks = 0
        self._settle_after: float | None = None
        self._settled_at: int | None = None
        self._claim_time = 0.0
        self._marks = Marks()
        self._peek_due = False
        self._flows = False
        self._poll_at = 0.0
        self._ending = False
        self.in_flight: bool = False

    @property
    def is_promising(self) -> bool:
        """Whether something has happened since the last claim began that a claim could find."""
        return self._promising or self._peek_due

    @property
    def runs(self) -> int:
        """How many claims and looks there were; one has ended when there is another."""
        return self._link.runs

    def wake(self) -> None:
        """There may be jobs: claim, now or as soon as there is room."""
        self._promising = True
        self._heard = None
        self._alarm.ring()

    def hear(self, turn: int, queue: str | None = None) -> None:
        """There are jobs, as a notification says; others were perhaps deferred at the same time.

        Args:
            turn: How many workers come before this one.
            queue: Where; None: anywhere.
        """
        self._settle_after, self._settled_at = _SETTLE_AFTER, None
        if turn:
            self.peek_soon(turn)
        elif not self._promising and not self._locks:
            self._promising = True
            self._heard = queue
            self._alarm.ring()
        elif queue is None or queue != self._heard:
            self.wake()

    def make_room(self) -> None:
        """There is more room than there was."""
        if self.is_promising:
            self._alarm.ring()

    def peek_soon(self, turn: int) -> None:
        """There may be jobs, which another worker will probably have: look first, in a moment.

        Args:
            turn: How many workers come before this one.
        """
        if self._promising:
            return
        self._turn = turn
        loop = asyncio.get_running_loop()
        # Spreads load; nothing secret depends on it.
        after = random.uniform(0.7, 1.3) * max(_PEEK_AFTER, _CLAIMS * self._claim_time)  # noqa: S311
        if self._peeking is None:
            self._peek_by = loop.time() + _PUT_OFF * after
        else:
            self._peeking.cancel()
        self._peeking = loop.call_at(min(loop.time() + after, self._peek_by), self._peek)

    async def end(self) -> None:
        """Claim no more. What a claim under way brings is still delivered, if it comes soon."""
        self._ending = True
        self._alarm.ring()
        if self._task is not None and self.in_flight:
            await asyncio.wait([self._task], timeout=_LAST_ANSWER_WITHIN)
        await self.stop()

    async def stop(self) -> None:
        """Stop the loop, and the look that is planned."""
        if self._peeking is not None:
            self._peeking.cancel()
        await super().stop()

    async def loop(self) -> None:
        """Claim, and wait for a reason to claim again."""
        while not self._ending:
            room = self._room()
            if self._promising and room > 0:
                await self._claim(min(room, LARGEST_CLAIM))
            elif self._peek_due and room > 0:
                await self._look()
            else:
                await self._wait()

    async def _look(self) -> None:
        self._peek_due = False
        look = await self._link.insist(operations.has_ready_jobs, self._identity.queues)
        if not look.ready:
            self._looks = 0
            self._settle(look)
            # As a claim would have: a worker that does not wait may end by it.
            self._deliver(())
            return
        # All who look find the same job: the second in turn claims it, then the next two, then any.
        self._looks += 1
        if self._looks == _LOOKS or self._turn < 2**self._looks:
            self._looks = 0
            self._promising = True
        else:
            self.peek_soon(self._turn)

    def _settle(self, look: Look) -> None:
        if self._settle_after is None:
            return
        if self._settled_at is None:
            self._settled_at = look.next_transaction
        if look.oldest_transaction >= self._settled_at:
            self._settle_after = None
        else:
            self._settle_after = min(2 * self._settle_after, _SETTLE_EVERY)
            self._plan_settling()

    def _plan_settling(self) -> None:
        if self._settle_after is not None and self._peeking is None and not self.is_promising:
            loop = asyncio.get_running_loop()
            self._peeking = loop.call_later(self._settle_after, self._peek)

    async def _claim(self, room: int) -> None:
        heard = None if self._peek_due else self._heard
        self._promising = False
        self._peek_due = False
        self._heard = None
        self.in_flight = True
        began = self._identity.now()
        marks = self._marks.at(began)
        if heard is None:
            self._poll_at = began + self._polling_interval

        def claim(connection: Connection) -> list[Job]:
            # Each time it is tried: the worker may have registered again meanwhile.
            worker_id, queues = self._identity.id, self._identity.queues
            return operations.claim_jobs(
                connection, worker_id, queues, room, marks=marks, heard=heard
            )

        try:
            jobs = await self._link.insist(claim)
        finally:
            self.in_flight = False
        if jobs:
            self._locks = any(job.lock is not None for job in jobs)
        now = self._identity.now()
        self._claim_time += (now - began - self._claim_time) / 4
        if marks and len(jobs) < room:
            # There may be more before the marks.
            self._promising, self._heard = True, None
        self._marks.see(jobs, asked=room, began=began, now=now)
        flowed, self._flows = self._flows, len(jobs) == room
        if self._flows:
            # For one sub-worker a single job is all there is room for: it takes two to promise more.
            self._promising = self._promising or flowed
            self._peek_due = True
            self._turn = 0
        elif jobs and not self._identity.is_alone:
            # Others may have held what this claim passed over, and given it up.
            self.peek_soon(1)
        self._plan_settling()
        self._deliver(jobs)

    async def _wait(self) -> None:
        left = self._poll_at - self._identity.now()
        if self._promising:
            # With a reason to claim, what is missing is room, and that rings.
            await self._alarm.wait()
        elif left > 0:
            await self._alarm.wait(left)
        else:
            self._promising = True

    def _peek(self) -> None:
        self._peeking = None
        self._peek_due = True
        self._alarm.ring()
