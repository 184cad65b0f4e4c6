"""Jobs of one lock that were claimed together: each begins when the one before it has ended."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import takewhile

from taskq.job import Job
from taskq.worker.attempt import Attempt


class LockRuns:
    """What follows the jobs with a lock that are ready or running."""

    def __init__(self) -> None:
        # By lock, and by the worker's id: an attempt of before it registered again holds nothing up.
        self._runs: dict[tuple[int | None, str], deque[Attempt]] = {}
        self._moved: dict[tuple[int | None, str], float] = {}

    def __len__(self) -> int:
        """How many jobs follow others."""
        return sum(map(len, self._runs.values()))

    def __iter__(self) -> Iterator[Attempt]:
        """Those that follow others."""
        for run in self._runs.values():
            yield from run

    def holds(self, lock: str, worker_id: int | None) -> bool:
        """Whether a job of the lock is ready or running."""
        return (worker_id, lock) in self._runs

    def follows(self, attempt: Attempt, now: float) -> bool:
        """Take in a claimed job: whether it has to wait for another of its lock."""
        if (key := _key(attempt.job)) is None:
            return False
        if key in self._runs:
            self._runs[key].append(attempt)
            return True
        self._runs[key] = deque()
        self._moved[key] = now
        return False

    def has_next(self, job: Job) -> bool:
        """Whether another one follows a job."""
        key = _key(job)
        return key is not None and bool(self._runs.get(key))

    def next(self, job: Job, now: float) -> Attempt | None:
        """A job has ended for good: what follows it."""
        if (key := _key(job)) is None or key not in self._runs:
            return None
        self._moved[key] = now
        if self._runs[key]:
            return self._runs[key].popleft()
        self._forget(key)
        return None

    def end(self, job: Job) -> list[Attempt]:
        """A job goes back, or is another worker's by now: what followed it, and does not any more."""
        if (key := _key(job)) is None:
            return []
        followers = list(self._runs.get(key, ()))
        self._forget(key)
        return followers

    def remove(self, attempt: Attempt) -> bool:
        """Leave out a job that follows others; whether it did."""
        key = _key(attempt.job)
        if key is None or attempt not in self._runs.get(key, ()):
            return False
        self._runs[key].remove(attempt)
        return True

    def behind(self, is_paused: Callable[[Job], bool]) -> list[Attempt]:
        """Take out those that are paused, and what follows them."""
        taken: list[Attempt] = []
        for run in self._runs.values():
            kept = list(takewhile(lambda attempt: not is_paused(attempt.job), run))
            while len(run) > len(kept):
                taken.append(run.pop())
        return taken

    def waiting_since(self, time: float) -> list[Attempt]:
        """Take out those that follow a job which began before a time."""
        waiting: list[Attempt] = []
        for key, run in self._runs.items():
            if self._moved[key] <= time:
                waiting += run
                run.clear()
        return waiting

    def _forget(self, key: tuple[int | None, str]) -> None:
        self._runs.pop(key, None)
        self._moved.pop(key, None)


def _key(job: Job) -> tuple[int | None, str] | None:
    return None if job.lock is None else (job.worker_id, job.lock)
