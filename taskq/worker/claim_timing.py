"""When to claim: a state machine without I/O. Events go in, and ``next`` says what to do."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from taskq.queries.job_claim import AvailabilityCheck

# Long enough for the worker that goes first to have claimed, and short enough not to be noticed. On a slow
# network or machine its claim takes about as many times longer as the claims here do.
_CHECK_AFTER = 0.03  # seconds
_CLAIMS = 3  # claims

# While jobs keep coming one by one, a check finds the one that another worker is just about to claim: so it
# is put off, to this many times the wait at most.
_PUT_OFF = 3

# Of transactions that defer at once only one notifies: who is notified checks again until those that were
# under way then have ended, first after this time, and then each time after twice as long.
_RECHECK_AFTER = 0.005  # seconds
_RECHECK_EVERY = 1.0  # seconds at most


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim now: in one queue, or (None) in all."""

    queue: str | None


@dataclass(frozen=True, slots=True)
class Check:
    """See now whether a claim is worth trying, without writing."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing until an event, or until a time; None: until an event alone."""

    until: float | None


def _spread() -> float:
    # Spreads load; nothing secret depends on it.
    return random.uniform(0.7, 1.3)  # noqa: S311


class ClaimTiming:
    """Says when to claim, when to check first, and when to wait.

    It claims again only when something has happened that a claim could find: a notification, a lock that
    went free, the poll's time, or claims that got all they asked for. Something that happens during a claim
    leads to another one. Where a claim would probably be in vain, as others were notified too, it checks
    first. Where all it knows of is a notification for one queue, it claims there alone, which is quicker.

    All times are in seconds, by one clock that only goes forward.

    Args:
        polling_interval: Seconds after which to claim without a reason.
        spread: A factor for waits, so that workers do not act at the same moment.
    """

    def __init__(self, *, polling_interval: float, spread: Callable[[], float] = _spread) -> None:
        self._polling_interval = polling_interval
        self._spread = spread
        self._wanted = True
        self._queue: str | None = None
        self._poll_at = 0.0
        self._check_at: float | None = None
        self._put_off_until: float | None = None
        self._recheck_after: float | None = None
        self._recheck_until: int | None = None
        self._began = 0.0
        self._claim_seconds = 0.0
        self._was_full = False
        self._in_vain = 0

    def is_pending(self, now: float) -> bool:
        """Whether there is a reason to claim or to check now, given the capacity."""
        return self._wanted or self._is_check_due(now)

    def next(self, now: float, capacity: int) -> Claim | Check | Wait:
        """What to do now.

        Args:
            now: The time.
            capacity: How many jobs may be claimed.
        """
        if not self._wanted and now >= self._poll_at:
            self._wanted = True
        if not self.is_pending(now):
            return Wait(
                self._poll_at if self._check_at is None else min(self._check_at, self._poll_at)
            )
        if capacity <= 0:
            # What is missing is capacity, and more of it is an event.
            return Wait(None)
        if self._wanted:
            return Claim(None if self._is_check_due(now) else self._queue)
        return Check()

    # Events

    def wake(self) -> None:
        """There may be jobs in any queue."""
        self._wanted = True
        self._queue = None

    def notified(self, now: float, rank: int, queue: str | None = None) -> None:
        """There are jobs, as a notification says; others were perhaps deferred at the same time.

        Args:
            now: The time.
            rank: How many workers come before this one.
            queue: Where; None: anywhere.
        """
        self._recheck_after, self._recheck_until = _RECHECK_AFTER, None
        if rank:
            self._check_later(now)
        elif not self._wanted:
            self._wanted = True
            self._queue = queue
        elif queue is None or queue != self._queue:
            self.wake()

    def claim_began(self, now: float, queue: str | None) -> None:
        """A claim is under way."""
        self._began = now
        self._wanted = False
        self._queue = None
        if self._is_check_due(now):
            self._check_at = None
        if queue is None:
            self._poll_at = now + self._polling_interval

    def claim_ended(
        self,
        now: float,
        *,
        jobs: int,
        limit: int,
        from_start: bool,
        is_alone: bool,
    ) -> None:
        """A claim has brought jobs, or none.

        Args:
            now: The time.
            jobs: How many.
            limit: How many it was to bring at most.
            from_start: Whether it began at the start of the indexes, and not behind earlier claims.
            is_alone: Whether no other worker is known.
        """
        self._claim_seconds += (now - self._began - self._claim_seconds) / 4
        if jobs < limit and not from_start:
            self.wake()
        was_full, self._was_full = self._was_full, jobs == limit
        if self._was_full:
            # For one slot a single job is all there is capacity for: it takes two to promise more.
            self._wanted = self._wanted or was_full
            self._check_at = now
        elif jobs and not is_alone:
            # Others may have held what this claim passed over, and given it up.
            self._check_later(now)
        self._in_vain = 0 if jobs else self._in_vain + 1
        if self._in_vain and not is_alone and self._check_at is None and not self._wanted:
            # As before; but what it passes over may be held for long.
            wait = min(_CHECK_AFTER * 2 ** min(self._in_vain - 1, 10), _RECHECK_EVERY)
            self._check_at = now + self._spread() * wait
            self._put_off_until = None
        self._plan_recheck(now)

    def check_began(self) -> None:
        """A check is under way."""
        self._check_at = None

    def check_ended(self, now: float, seen: AvailabilityCheck) -> None:
        """A check has answered."""
        if seen.ready:
            # Others who checked may claim it too. With eight idle workers and jobs that come one by one that
            # is 1.13 to 1.23 claims a job, instead of 1.03 if they take turns; without ranks it would be 8.
            self._wanted = True
        elif self._recheck_after is not None:
            self._recheck(now, seen, self._recheck_after)

    # Inside

    def _is_check_due(self, now: float) -> bool:
        return self._check_at is not None and now >= self._check_at

    def _check_later(self, now: float) -> None:
        if self._wanted:
            return
        after = self._spread() * max(_CHECK_AFTER, _CLAIMS * self._claim_seconds)
        if self._check_at is None or self._put_off_until is None:
            self._put_off_until = now + _PUT_OFF * after
        self._check_at = min(now + after, self._put_off_until)

    def _recheck(self, now: float, seen: AvailabilityCheck, after: float) -> None:
        if self._recheck_until is None:
            self._recheck_until = seen.next_transaction
        if seen.oldest_transaction >= self._recheck_until:
            self._recheck_after = None
        else:
            self._recheck_after = min(2 * after, _RECHECK_EVERY)
            self._plan_recheck(now)

    def _plan_recheck(self, now: float) -> None:
        if self._recheck_after is not None and self._check_at is None and not self._wanted:
            self._check_at = now + self._recheck_after
            self._put_off_until = None
