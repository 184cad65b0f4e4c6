"""Rescuing: the jobs of dead workers."""

from dataclasses import dataclass

from taskq.job import Job, JobStatus
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import job_of, only_row
from taskq_sql import job_rescue

_querier = on_any(job_rescue.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescued:
    """A job of a dead worker.

    Attributes:
        job_id: The job.
        task_name: The name that it calls its task by.
        queue: Where it is.
        status: What it is now.
        crashes: How many workers died while it may have been running.
        had_begun: Whether it may have been running this time; otherwise it was only claimed.
    """

    job_id: int
    task_name: str
    queue: str
    status: JobStatus
    crashes: int
    had_begun: bool


def rescue_jobs(connection: Connection, stalled_after: float, max_crashes: int) -> list[Rescued]:
    """Take the jobs of dead workers back into the queue, or end them."""
    return [
        Rescued(
            job_id=row.id,
            task_name=row.task_name,
            queue=row.queue_name,
            status=JobStatus(row.status),
            crashes=row.crashes,
            had_begun=row.has_begun,
        )
        for row in _querier(connection).rescue_jobs(
            stalled_after=stalled_after, max_crashes=max_crashes
        )
    ]


def open_forgotten_gates(
    connection: Connection, after_lock: str, after_limit: str, max_gates: int
) -> tuple[str, str]:
    """Open locks and limits that were freed by hand, among the next after a name of each.

    Returns:
        The last lock and the last limit of them; empty: there are no more.
    """
    row = only_row(
        _querier(connection).open_forgotten_gates(
            after_lock=after_lock, after_limit=after_limit, max_gates=max_gates
        )
    )
    return row.last_lock, row.last_limit


def list_stalled_jobs(
    connection: Connection, stalled_after: float, *, queue: str | None, task: str | None
) -> list[Job]:
    """The jobs of workers that are dead."""
    rows = _querier(connection).list_stalled_jobs(
        stalled_after=stalled_after, queue_name=queue, task_name=task
    )
    return [job_of(row) for row in rows]
