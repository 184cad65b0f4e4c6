"""How many jobs to claim beyond those that can start at once."""

from typing import Literal

# A claimed job starts within this time, or another worker might as well have had it.
HORIZON = 0.05  # seconds
# Of no-op jobs what runs in 25 ms. With 500, and a claim when half of them were left, each claim came
# back too late: 29k jobs/s where it is 36k now.
LARGEST = 1000  # jobs
_WINDOW = 0.05  # seconds
_WEIGHT = 0.2


class Prefetch:
    """Judges by the recent pace of jobs how many will start within ``HORIZON``.

    Two judgements, of which the smaller counts: how long jobs take, which keeps a worker with long
    ones from taking more than it runs; and how many ended lately, which knows what the event loop
    and the machine really manage.

    Args:
        concurrency: The number of slots.
        fixed: A number of jobs instead, or "auto".
    """

    def __init__(self, concurrency: int, fixed: int | Literal["auto"] = "auto") -> None:
        self._concurrency = concurrency
        self.fixed: int | None = None if fixed == "auto" else fixed
        self._duration: float | None = None
        self._rate = 0.0
        self._since = 0.0
        self._rested = 0.0
        self._ended = 0

    def ended(self, seconds: float, now: float) -> None:
        """Take in that a job ended.

        Args:
            seconds: How long it took.
            now: When that was, by any clock that only goes forward, in seconds.
        """
        if self._duration is None:
            self._duration = seconds
        else:
            self._duration += (seconds - self._duration) * _WEIGHT
        self._ended += 1
        if (elapsed := now - self._since) >= _WINDOW:
            self._rate = self._ended / max(elapsed - self._rested, 1e-6)
            self._since = now
            self._rested = 0.0
            self._ended = 0

    def rested(self, seconds: float) -> None:
        """Take in that there was nothing to run for so long.

        It says nothing of the pace. If it did, a worker that a slow claim kept waiting would claim
        fewer jobs the next time, and wait all the more often.
        """
        self._rested += seconds

    def misjudged(self) -> None:
        """Take in that claimed jobs had to wait too long: begin again, with nothing."""
        self._duration = None
        self._rate = 0.0

    @property
    def size(self) -> int:
        """How many jobs to claim beyond the free slots."""
        if self.fixed is not None:
            return self.fixed
        if self._duration is None:
            return 0
        by_duration = self._concurrency * HORIZON / max(self._duration, 1e-6)
        return int(min(by_duration, self._rate * HORIZON, LARGEST))

    @property
    def run_length(self) -> int:
        """How many jobs of one lock to claim at once, which run one after the other."""
        if self.fixed is not None:
            return 1 + self.fixed
        if self._duration is None:
            return 1
        by_duration = HORIZON / max(self._duration, 1e-6)
        return 1 + int(min(by_duration, self._rate * HORIZON, LARGEST))
