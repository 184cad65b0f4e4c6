"""Slot: a place in a worker in which one job runs at a time."""

from collections.abc import Callable

from taskq.outcome import Outcome
from taskq.worker.attempt import Attempt
from taskq.worker.outcomes import Decision


class Slot:
    """One of the worker's slots, which runs one job at a time.

    Args:
        ended: Told of the end of an attempt, unless it was given up.
        committed: Told of an outcome that the task's own transaction wrote, and the seconds that it took.
    """

    def __init__(
        self,
        ended: Callable[["Slot", Attempt, Decision], None],
        committed: Callable[[Attempt, Outcome, float], None],
    ) -> None:
        self._on_ended = ended
        self._on_committed = committed
        self.attempt: Attempt | None = None

    def run(self, attempt: Attempt) -> None:
        """Begin with a job."""
        self.attempt = attempt
        attempt.start(self._done, self._committed)

    def clear(self) -> Attempt | None:
        """Be without a job again; returns the attempt, whose end is not told any more."""
        attempt, self.attempt = self.attempt, None
        return attempt

    def _done(self, decision: Decision) -> None:
        if (attempt := self.clear()) is not None:
            self._on_ended(self, attempt, decision)

    def _committed(self, outcome: Outcome, seconds: float) -> None:
        if self.attempt is not None:
            self._on_committed(self.attempt, outcome, seconds)
