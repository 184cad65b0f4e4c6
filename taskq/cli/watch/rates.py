"""How fast jobs come and go, from a few numbers that are read again and again."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

# Over so long rates are taken: the server's statistics come late, and single numbers jump.
_WINDOW = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The numbers at one time.

    Attributes:
        at: When, by the server's clock.
        ids_drawn: How many ids jobs have drawn.
        failed_attempts: How many attempts have failed.
        alive: How many jobs wait or run.
    """

    at: datetime
    ids_drawn: int
    failed_attempts: int
    alive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What happens in a second.

    Attributes:
        deferred: How many jobs are deferred.
        ended: How many end, whatever their status: what is deferred and does not pile up.
        failed: How many attempts fail.
    """

    deferred: float
    ended: float
    failed: float


class Meter:
    """Takes samples, and makes rates of the latest of them."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque()

    def take(self, sample: Sample) -> Rates | None:
        """Take a sample; returns the rates, None after the first one."""
        self._samples.append(sample)
        # One that is older stays as the beginning, however long the way from it.
        while len(self._samples) > 2 and sample.at - self._samples[1].at >= _WINDOW:
            self._samples.popleft()
        first = self._samples[0]
        seconds = (sample.at - first.at).total_seconds()
        if seconds <= 0:
            return None
        drawn = sample.ids_drawn - first.ids_drawn
        return Rates(
            deferred=max(drawn, 0) / seconds,
            ended=max(drawn - (sample.alive - first.alive), 0) / seconds,
            failed=max(sample.failed_attempts - first.failed_attempts, 0) / seconds,
        )
