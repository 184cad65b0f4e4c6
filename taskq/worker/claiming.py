"""Claiming: todo → doing.

One statement at a time, for as many jobs as have room. It may not act while nothing has room, while the
worker stops, and while the heartbeat is overdue, since others then take this worker for dead.
"""

import asyncio
import random
from collections.abc import Callable, Sequence

from taskq.job import Job
from taskq.manager import operations
from taskq.worker.identity import Identity
from taskq.worker.link import Link
from taskq.worker.part import Alarm, Part

# What ClaimJobs takes at most.
_LARGEST = 1000

# Long enough for the worker that goes first to have claimed, short enough for nobody to notice.
_PEEK_AFTER = (0.02, 0.04)  # seconds


class Claiming(Part):
    """Claims jobs whenever there may be some and there is room for them.

    It claims again only when something has happened that a claim could find: a notification, a lock
    that went free, the poll's time, or a claim that got all it asked for. A wake-up during a claim
    leads to another one.

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
        self._peeking: asyncio.TimerHandle | None = None
        self._peek_due = False
        self._paused = False
        self._ending = False
        self.in_flight = False

    @property
    def is_promising(self) -> bool:
        """Whether something has happened since the last claim began that a claim could find."""
        return self._promising or self._peek_due

    def wake(self) -> None:
        """There may be jobs: claim, now or as soon as there is room."""
        self._promising = True
        self._alarm.ring()

    def make_room(self) -> None:
        """There is more room than there was."""
        if self._promising:
            self._alarm.ring()

    def peek_soon(self) -> None:
        """There may be jobs, which another worker will probably have: look first, in a moment."""
        if self._peeking is None and not self._promising:
            # Spreads load; nothing secret depends on it.
            after = random.uniform(*_PEEK_AFTER)  # noqa: S311
            self._peeking = asyncio.get_running_loop().call_later(after, self._peek)

    def pause(self, paused: bool) -> None:
        """Stop claiming, or go on."""
        self._paused = paused
        self._alarm.ring()

    async def end(self) -> None:
        """Claim no more. What a claim under way brings is still delivered."""
        self._ending = True
        self._alarm.ring()
        if self._task is not None and self.in_flight:
            await asyncio.wait([self._task], timeout=10)
        await self.stop()

    async def stop(self) -> None:
        """Stop the loop, and the look that is planned."""
        if self._peeking is not None:
            self._peeking.cancel()
        await super().stop()

    async def loop(self) -> None:
        """Claim, and wait for a reason to claim again."""
        while not self._ending:
            if self._peek_due:
                self._peek_due = False
                if await self._link.insist(operations.has_ready_jobs, self._identity.queues):
                    self._promising = True
            if self._promising and not self._paused and (room := self._room()) > 0:
                await self._claim(min(room, _LARGEST))
            else:
                await self._wait()

    async def _claim(self, room: int) -> None:
        self._promising = False
        self.in_flight = True
        try:
            jobs = await self._link.insist(
                operations.claim_jobs, self._identity.id, self._identity.queues, room
            )
        finally:
            self.in_flight = False
        if len(jobs) == room:
            self._promising = True
        elif jobs and not self._identity.is_alone:
            # Others may have held what this claim passed over, and given it up.
            self.peek_soon()
        self._deliver(jobs)

    async def _wait(self) -> None:
        # With a reason to claim, what is missing is room, and that rings.
        began = asyncio.get_running_loop().time()
        await self._alarm.wait(None if self._promising else self._polling_interval)
        if asyncio.get_running_loop().time() - began >= self._polling_interval:
            self._promising = True

    def _peek(self) -> None:
        self._peeking = None
        if self._room() > 0:
            self._peek_due = True
        else:
            self._promising = True
        self._alarm.ring()
