"""Claiming: todo → doing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskq.job import Job
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import array_of, job_of, only_row
from taskq_sql import job_claim

_querier = on_any(job_claim.Querier)

# What ClaimJobs takes at most.
LARGEST_CLAIM = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AvailabilityCheck:
    """What a check for jobs saw.

    Attributes:
        ready: Whether a claim is worth trying.
        oldest_transaction: Those before it have ended, and what they deferred was seen.
        next_transaction: It and those after it have not begun.
    """

    ready: bool
    oldest_transaction: int
    next_transaction: int


def claim_jobs(
    connection: Connection,
    worker_id: int,
    queues: Sequence[str] | None,
    max_jobs: int,
    *,
    marks: Mapping[tuple[str, int], int] | None = None,
    only_queue: str | None = None,
) -> list[Job]:
    """Take the next jobs for a worker, at most ``max_jobs``.

    Of jobs without a lock only those behind the marks: by queue and priority, an id. A queue that
    alone was notified is tried first, which is quicker.
    """
    marks = marks or {}
    if only_queue is not None and not marks:
        free = _querier(connection).claim_free_jobs(
            worker_id=worker_id, queue_name=only_queue, max_jobs=max_jobs
        )
        if claimed := [job_of(row) for row in free]:
            return claimed
    rows = _querier(connection).claim_jobs(
        worker_id=worker_id,
        queue_names=array_of(queues),
        max_jobs=max_jobs,
        mark_queues=[queue for queue, _ in marks],
        mark_priorities=[priority for _, priority in marks],
        mark_ids=list(marks.values()),
    )
    return [job_of(row) for row in rows]


def has_ready_jobs(connection: Connection, queues: Sequence[str] | None) -> AvailabilityCheck:
    """Whether a claim is worth trying, now or when what is under way has ended."""
    row = only_row(_querier(connection).has_ready_jobs(queue_names=array_of(queues)))
    return AvailabilityCheck(
        ready=row.ready,
        oldest_transaction=row.oldest_transaction,
        next_transaction=row.next_transaction,
    )
