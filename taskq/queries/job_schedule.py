"""Jobs for later become due, and workers are notified."""

from collections.abc import Iterable
from datetime import datetime

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import job_schedule

_querier = on_any(job_schedule.Querier)


def promote_jobs(connection: Connection, max_jobs: int) -> tuple[int, datetime | None]:
    """Make jobs due whose time has come; returns how many, and when the next one is."""
    row = only_row(_querier(connection).promote_jobs(max_jobs=max_jobs))
    return row.jobs, row.next_at


def announce_locks(connection: Connection, locks: Iterable[str]) -> None:
    """Notify the workers that locks are free whose next job this worker will not claim."""
    _querier(connection).announce_locks(locks=sorted(set(locks)))
