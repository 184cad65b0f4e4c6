"""What jobs did lately."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from taskq.job import JobStatus
from taskq.queries.connection import Connection, on_any
from taskq_sql import job_summary

_querier = on_any(job_summary.Querier)

# By what the jobs that ended lately are put together.
EndedBy = Literal["time", "queue", "task"]

# Into how many spans a time is cut.
SPANS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedJobs:
    """What jobs did that have ended lately: those of a span of time, a queue or a task.

    Attributes:
        name: The queue or the task; of a span when it began, in seconds since 1970.
        jobs: How many ended, in whatever status; of those that are kept.
        failed: How many of them failed.
        is_estimate: Whether the figures are estimates, from a sample.
        median: For how many seconds the last attempt of half of them ran, at most; None: none ran.
        p95: For how many 95 % of them did.
    """

    name: str
    jobs: int
    failed: int
    is_estimate: bool
    median: float | None
    p95: float | None

    @property
    def begins(self) -> datetime:
        """When the span began, if it is one of time."""
        return datetime.fromtimestamp(int(self.name), UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatestJob:
    """The newest job of a task.

    Attributes:
        id: The job.
        task: The name of its task.
        status: Where it stands.
        deferred_at: When it was deferred.
        finished_at: When it ended; None: it has not.
    """

    id: int
    task: str
    status: JobStatus
    deferred_at: datetime
    finished_at: datetime | None


def summarize_ended(connection: Connection, by: EndedBy, seconds: int) -> list[EndedJobs]:
    """What jobs did that have ended lately.

    Args:
        connection: The connection.
        by: By what they are put together.
        seconds: How long each of ``SPANS`` spans is, until now.
    """
    return [
        EndedJobs(
            name=row.part,
            jobs=row.jobs,
            failed=row.failed,
            is_estimate=row.is_estimate,
            median=None if row.median < 0 else row.median,
            p95=None if row.p95 < 0 else row.p95,
        )
        for row in _querier(connection).summarize_ended(part=by, seconds=seconds, spans=SPANS)
    ]


def list_latest_jobs(connection: Connection, tasks: Iterable[str]) -> dict[str, LatestJob]:
    """The newest job of each of some tasks, by their names; of the newest jobs of all."""
    return {
        row.task_name: LatestJob(
            id=row.id,
            task=row.task_name,
            status=JobStatus(row.status),
            deferred_at=row.deferred_at,
            finished_at=row.finished_at,
        )
        for row in _querier(connection).list_latest_jobs(task_names=list(tasks))
    }
