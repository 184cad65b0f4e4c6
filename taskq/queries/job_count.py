"""How many jobs there are, and who holds which lock."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskq.job import JobStatus
from taskq.queries.connection import Connection, on_any
from taskq.queries.filters import Filter, filter_arguments
from taskq_sql import job_count

_querier = on_any(job_count.Querier)


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
class QueueCounts:
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
        held_by: The id of the job that holds it, which is doing; None if none does.
        waiting: How many jobs with this lock are todo.
    """

    lock: str
    held_by: int | None
    waiting: int


def count_jobs(connection: Connection, wanted: Filter) -> list[JobCount]:
    """Count the jobs of each queue, task and status."""
    return [
        JobCount(
            queue=row.queue_name,
            task=row.task_name,
            status=JobStatus(row.status),
            jobs=row.jobs,
            is_estimate=row.is_estimate,
            longest_wait=None if row.longest_wait < 0 else row.longest_wait,
        )
        for row in _querier(connection).count_jobs(ids=wanted.ids, **filter_arguments(wanted))
    ]


def list_locks(connection: Connection, limit: int) -> list[LockState]:
    """The locks that jobs hold or wait for, those with the most that wait first."""
    return [
        LockState(lock=row.lock, held_by=row.held_by or None, waiting=row.waiting)
        for row in _querier(connection).list_locks(max_locks=limit)
    ]
