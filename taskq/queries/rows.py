"""What the rows of queries have in common."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from taskq.exceptions import InvalidJob, JobNotFound
from taskq.job import Job, JobStatus
from taskq.progress import read_progress
from taskq.unreadable import read_object
from taskq_sql import job_list, models

T = TypeVar("T")

# In bytes: what PostgreSQL takes as one jsonb. A parameter of more than 1 GB would even end the connection.
LARGEST_DOCUMENT = 2**28 - 1

# Calling JobStatus takes ten times as long, and two are looked up for each job that a worker runs.
STATUSES = {status.value: status for status in JobStatus}

# The last second that a job may be scheduled for.
_LATEST = datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()

# A job's row is the table's where a query reads the table, and the query's own where it passes through a
# WITH clause.
JobRow = models.TaskqJob | job_list.PageJobsRow


def bounded_document(document: str, jobs: int) -> str:
    """The document, if PostgreSQL takes one that is so large.

    Raises:
        InvalidJob: It does not.
    """
    # No byte more can come of a character than these; to count them all takes a copy.
    if 4 * len(document) > LARGEST_DOCUMENT and (size := len(document.encode())) > LARGEST_DOCUMENT:
        raise too_large(f"{size:,} bytes for {jobs} jobs, of {LARGEST_DOCUMENT:,} at most")
    return document


def only_row(row: T | None) -> T:
    """The row of a query that has one whatever it finds, which sqlc cannot know of it."""
    assert row is not None  # noqa: S101
    return row


def array_of(queues: Sequence[str] | None) -> list[str] | None:
    """A list as a parameter; None: all."""
    return None if queues is None else list(queues)


def too_large(reason: str) -> InvalidJob:
    """What to raise for jobs that PostgreSQL cannot take in one statement."""
    return InvalidJob(
        f"this is too large for one statement ({reason}): defer fewer jobs at once, in a transaction of your "
        "own if they are all or none, and keep large values elsewhere and their name in the job"
    )


def not_found(job_id: int) -> JobNotFound:
    """What to raise for a job that is not there."""
    return JobNotFound(f"no job has the id {job_id}: it may have been deleted")


def job_of(row: JobRow) -> Job:
    """A row as the job that it is."""
    return Job(
        id=row.id,
        task_name=row.task_name,
        task_kwargs=row.args,
        queue=row.queue_name,
        priority=row.priority,
        lock=row.lock,
        queueing_lock=row.queueing_lock,
        idempotency_key=row.idempotency_key,
        limit_key=row.limit_key,
        status=STATUSES[row.status],
        scheduled_at=row.scheduled_at,
        deferred_at=row.deferred_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempt=row.attempt,
        crashes=row.crashes,
        given_back=row.given_back or 0,
        worker_id=row.worker_id,
        abort_requested=row.abort_requested,
        result=row.result,
        metadata=read_object(row.metadata),
        tags=tuple(row.tags or ()),
        progress=None if row.progress is None else read_progress(row.progress, row.claim),
        expires_at=row.expires_at,
        claim=row.claim,
    )


def statuses_of(statuses: Iterable[JobStatus]) -> list[models.TaskqJobStatus]:
    """Statuses as the queries take them."""
    return [models.TaskqJobStatus(status) for status in statuses]


def moment_of(epoch: float) -> datetime:
    """A time to come from its seconds since 1970; by hand one may lie beyond Python's years."""
    return datetime.fromtimestamp(min(epoch, _LATEST), UTC)
