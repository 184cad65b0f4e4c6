"""Jobs for later become due, those that are late expire, and workers are notified."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import job_schedule

_querier = on_any(job_schedule.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What a promotion did.

    Attributes:
        jobs: How many jobs became due, and how many limits have a start for the next one.
        expired: How many jobs were cancelled, as they had not begun by their time.
        skipped: Whether there are others that another transaction had locked.
        next_at: When the next job is due, or expires.
    """

    jobs: int
    expired: int
    skipped: bool
    next_at: datetime | None


def promote_jobs(connection: Connection, max_jobs: int) -> Promoted:
    """Make jobs due whose time has come, and cancel those that are late, at most ``max_jobs`` of each."""
    row = only_row(_querier(connection).promote_jobs(max_jobs=max_jobs))
    return Promoted(jobs=row.jobs, expired=row.expired, skipped=row.skipped, next_at=row.next_at)


def announce_limits(connection: Connection, limit_keys: Iterable[str]) -> None:
    """Notify the workers that limits have room for jobs which this worker will not claim."""
    _querier(connection).announce_limits(limit_keys=sorted(set(limit_keys)))


def announce_locks(connection: Connection, locks: Iterable[str]) -> None:
    """Notify the workers that locks are free whose next job this worker will not claim."""
    _querier(connection).announce_locks(locks=sorted(set(locks)))
