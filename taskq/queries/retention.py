"""What is done to jobs that are kept no longer: each operation once, on a synchronous connection."""

from collections.abc import Mapping
from datetime import timedelta

from taskq.job import JobStatus
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import models, retention

_querier = on_any(retention.Querier)

# Jobs that are deleted in one statement: some hundredths of a second.
_CHUNK = 500

# Jobs that are scanned where the last scan found none to delete; the query itself ends there too.
_MAX_SCANNED = 10_000


# What one statement deleted: how many jobs, up to which id it got, whether none are left beyond it, and from
# which id to scan the next time.
Deleted = retention.DeleteOldJobsRow


def delete_old_chunk(
    connection: Connection,
    status: JobStatus,
    older_than: timedelta,
    *,
    queue: str | None,
    after: int,
    max_jobs: int,
    leap: bool,
) -> Deleted:
    """Delete some jobs of one status that finished so long ago, beyond an id.

    With ``leap`` it scans many more jobs than it deletes: where many are kept.
    """
    return only_row(
        _querier(connection).delete_old_jobs(
            status=models.TaskqJobStatus(status),
            older_than=older_than.total_seconds(),
            queue_name=queue,
            after=after,
            max_scanned=_MAX_SCANNED if leap else 2 * max_jobs,
            max_jobs=max_jobs,
        )
    )


def delete_old_jobs(
    connection: Connection, kept: Mapping[JobStatus, timedelta], *, queue: str | None
) -> int:
    """Delete the jobs that finished so long ago, in many small statements; returns how many."""
    deleted = 0
    for status, older_than in kept.items():
        after, leap, is_end = 0, False, False
        while not is_end:
            chunk = delete_old_chunk(
                connection,
                status,
                older_than,
                queue=queue,
                after=after,
                max_jobs=_CHUNK,
                leap=leap,
            )
            after, leap, is_end = chunk.reached, not chunk.jobs, chunk.is_end
            deleted += chunk.jobs
    return deleted


def lease_retention(connection: Connection, worker_id: int, lease: float) -> bool:
    """Take the lease to delete old jobs for some seconds, or keep it; False if another worker has it."""
    return _querier(connection).lease_retention(worker_id=worker_id, lease=lease) is not None
