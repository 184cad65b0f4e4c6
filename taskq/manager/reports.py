"""What the job manager answers about many jobs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import overload

from taskq.job import Job, JobStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage(Sequence[Job]):
    """A page of a list of jobs; itself the sequence of them.

    Attributes:
        jobs: The jobs. A page may have few, or none, and not be the last: nobody looks at millions of
            jobs for one page.
        next_after: What to give as ``after`` for the next page; None: this is the last one.
    """

    jobs: Sequence[Job]
    next_after: int | None

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self.jobs[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCount:
    """How many jobs of a queue, a task and a status there are.

    Attributes:
        queue: The queue.
        task: The name of the task.
        status: The status.
        jobs: How many.
        is_estimate: Whether that is an estimate, from a sample of a big table.
        longest_wait: For how many seconds one of them could have started, and has not; None if none
            could.
    """

    queue: str
    task: str
    status: JobStatus
    jobs: int
    is_estimate: bool
    longest_wait: float | None


class JobCounts(Mapping[tuple[str, str, JobStatus], int]):
    """How many jobs there are, by queue, task and status; which of the numbers are estimates it says.

    Attributes:
        counts: The same, one by one.
    """

    def __init__(self, counts: Sequence[JobCount]) -> None:
        self.counts = counts
        self._jobs = {(count.queue, count.task, count.status): count.jobs for count in counts}

    def __getitem__(self, key: tuple[str, str, JobStatus]) -> int:
        return self._jobs[key]

    def __iter__(self) -> Iterator[tuple[str, str, JobStatus]]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def __repr__(self) -> str:
        return f"<JobCounts {self._jobs}{' in part estimated' if self.estimated else ''}>"

    @property
    def estimated(self) -> frozenset[tuple[str, str, JobStatus]]:
        """Those of the keys whose number is an estimate; jobs that wait or run are always counted."""
        return frozenset(
            (count.queue, count.task, count.status) for count in self.counts if count.is_estimate
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What there is of a queue, or of a task.

    Attributes:
        name: Its name.
        jobs: How many jobs have which status; every status is there.
        estimated: The statuses whose number is an estimate.
        longest_wait: For how many seconds one of them could have started, and has not; None if none
            could.
    """

    name: str
    jobs: Mapping[JobStatus, int]
    estimated: frozenset[JobStatus] = field(default=frozenset())
    longest_wait: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockState:
    """A lock that jobs hold or wait for.

    Attributes:
        lock: The lock.
        held_by: The id of the job that holds it, which is doing; None if nobody does.
        waiting: How many jobs with this lock are todo.
    """

    lock: str
    held_by: int | None
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """A worker that is registered.

    Attributes:
        id: Its id.
        name: Its name, which several may share.
        queues: The queues that it serves; None: all.
        started_at: When it registered.
        last_heartbeat: When it last said that it is alive.
        seconds_since_heartbeat: How long ago that is, by the server's clock.
        doing: How many jobs it has in hand.
    """

    id: int
    name: str
    queues: Sequence[str] | None
    started_at: datetime
    last_heartbeat: datetime
    seconds_since_heartbeat: float
    doing: int
