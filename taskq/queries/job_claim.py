"""Claiming: todo → doing."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskq.job import Job
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import array_of, job_of, only_row
from taskq_sql import job_claim

_querier = on_any(job_claim.Querier)

# What ClaimJobs takes at most.
LARGEST_CLAIM = 1000

# From at least so many queues at once, if that many have something; and how often if nothing came of it.
_QUEUES = 20
_TRIES = 5

# Of the column's type.
HIGHEST_PRIORITY = 2**31 - 1
LOWEST_PRIORITY = -(2**31)


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


@dataclass(frozen=True, slots=True)
class ReadyRange:
    """Ready jobs of a queue: those between two priorities, or those of the highest after an id.

    Attributes:
        queue: The queue.
        highest: The highest priority.
        lowest: The lowest priority.
        after_id: The id; 0: from the first.
    """

    queue: str
    highest: int = HIGHEST_PRIORITY
    lowest: int = LOWEST_PRIORITY
    after_id: int = 0


def claim_jobs(
    connection: Connection,
    worker_id: int,
    max_jobs: int,
    *,
    ranges: Sequence[ReadyRange],
    run_length: int = 1,
) -> list[Job]:
    """Take the next jobs for a worker.

    Args:
        connection: The connection.
        worker_id: The worker.
        max_jobs: How many at most.
        ranges: Where to take jobs without a lock from; those with one are taken from the same queues.
        run_length: How many jobs of one lock to take at most, to be run one after the other.
    """
    if not ranges:
        return []
    rows = _querier(connection).claim_jobs(
        worker_id=worker_id,
        queue_names=[part.queue for part in ranges],
        highest=[part.highest for part in ranges],
        lowest=[part.lowest for part in ranges],
        after_ids=[part.after_id for part in ranges],
        max_jobs=max_jobs,
        run_length=run_length,
    )
    return [job_of(row) for row in rows]


def claim_from_ready_queues(
    connection: Connection, worker_id: int, max_jobs: int, *, run_length: int = 1
) -> tuple[list[Job], list[str]]:
    """Take the next jobs of any queue; returns them, and the queues that had something to claim.

    These may be gates alone that let nothing in, which are gone then.
    """
    most = max(max_jobs, _QUEUES)
    for _ in range(_TRIES):
        queues = list_ready_queues(connection, most)
        ranges = [ReadyRange(queue) for queue in queues]
        jobs = claim_jobs(connection, worker_id, max_jobs, ranges=ranges, run_length=run_length)
        if jobs or len(queues) < most:
            break
    return jobs, queues


def claim_from_queues(
    connection: Connection, worker_id: int, queues: Sequence[str] | None, max_jobs: int
) -> list[Job]:
    """Take the next jobs of some queues, or of any (None)."""
    if queues is None:
        return claim_from_ready_queues(connection, worker_id, max_jobs)[0]
    ranges = [ReadyRange(queue) for queue in queues]
    return claim_jobs(connection, worker_id, max_jobs, ranges=ranges)


def list_ready_queues(connection: Connection, max_queues: int) -> list[str]:
    """The queues that have something to claim, those with the best jobs first."""
    return list(_querier(connection).list_ready_queues(max_queues=max_queues))


def has_ready_jobs(connection: Connection, queues: Sequence[str] | None) -> AvailabilityCheck:
    """Whether a claim is worth trying, now or when what is under way has ended."""
    row = only_row(_querier(connection).has_ready_jobs(queue_names=array_of(queues)))
    return AvailabilityCheck(
        ready=row.ready,
        oldest_transaction=row.oldest_transaction,
        next_transaction=row.next_transaction,
    )
