"""How a queue or a task stands: how many jobs of it there are, and how those ran that ended lately."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from taskq.doctor import Thresholds
from taskq.job import JobStatus
from taskq.manager import Pause, PauseKind
from taskq.queries.job_count import QueueCounts
from taskq.queries.job_summary import EndedJobs
from taskq.queries.workers import WorkerState
from taskq.task import Task

_NONE = dict.fromkeys(JobStatus, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a queue or a task stands.

    Attributes:
        name: Its name.
        counts: How many jobs of it there are; None: none.
        ended: How those ran that ended lately; None: none did.
        pause: Its pause; None: it is not paused.
    """

    name: str
    counts: QueueCounts | None
    ended: EndedJobs | None
    pause: Pause | None

    def count(self, status: str) -> int:
        """How many jobs have a status."""
        return (_NONE if self.counts is None else self.counts.jobs)[JobStatus(status)]

    def is_estimate(self, status: str) -> bool:
        """Whether that is an estimate."""
        return self.counts is not None and JobStatus(status) in self.counts.estimated

    @property
    def longest_wait(self) -> float | None:
        """For how many seconds one of the jobs could have started, and has not; None: none could."""
        return None if self.counts is None else self.counts.longest_wait

    @property
    def failure_rate(self) -> float | None:
        """Of those that ended lately how many percent failed; None: none ended."""
        if self.ended is None or not self.ended.jobs:
            return None
        return 100 * self.ended.failed / self.ended.jobs


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState(Standing):
    """How a queue stands.

    Attributes:
        workers: How many workers that are alive serve it.
        limits: The limits in which all of its jobs count.
    """

    workers: int
    limits: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState(Standing):
    """How a task stands.

    Attributes:
        task: The task; None: the app has none of that name, and jobs have.
    """

    task: Task[..., Any] | None

    @property
    def summary(self) -> str:
        """The first line of what is written about it."""
        lines = ((self.task.func.__doc__ or "") if self.task else "").strip().splitlines()
        return lines[0] if lines else ""


def alive_of(workers: Iterable[WorkerState]) -> list[WorkerState]:
    """The workers that are alive."""
    return [worker for worker in workers if worker.seconds_since_heartbeat < Thresholds().stalled]


def serving(workers: Iterable[WorkerState], queue: str) -> int:
    """How many of some workers serve a queue."""
    return sum(worker.queues is None or queue in worker.queues for worker in workers)


def pauses_of(pauses: Iterable[Pause], kind: PauseKind) -> dict[str, Pause]:
    """Those of one kind, by what they pause."""
    return {pause.name: pause for pause in pauses if pause.kind is kind}
