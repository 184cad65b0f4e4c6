"""What is read of jobs in the database: each operation once, on a synchronous connection."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypedDict

from sqlalchemy import Connection

from taskq.exceptions import JobNotFound
from taskq.job import Job, JobStatus
from taskq.manager.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL, Filter
from taskq.manager.reports import JobCount, JobPage, LockState, WorkerState
from taskq.unreadable import UnreadableTime
from taskq_sql import alive, attempts, claims, counting, jobs, listing, models, periodic, workers

LONGEST_PAGE = 1000

# In how many jobs the next page is looked for at most: along the primary key, where they lie one beside the
# other; along another index, where they do not; and in a line of those that wait. The queries end there too.
_MAX_LOOKED = 10_000
_MAX_LOOKED_BY_INDEX = 2000
_MAX_LOOKED_IN_LINE = 1000

# Calling JobStatus takes ten times as long, and two are looked up for each job that a worker runs.
STATUSES = {status.value: status for status in JobStatus}

# A job's row is the table's where a query reads the table, and the query's own where it passes through a
# WITH clause.
JobRow = (
    models.TaskqJob
    | claims.ClaimJobsRow
    | claims.ClaimFreeJobsRow
    | listing.PageJobsRow
    | alive.PageAliveJobsRow
)

# Before the first id, and beyond any. Not -2**63: psycopg2 writes a number into the statement's text, where
# that is minus a number that is too large.
_FIRST = 1 - 2**63
_LAST = 2**63 - 1


def get_job(connection: Connection, job_id: int) -> Job:
    """Read a job."""
    row = jobs.Querier(connection).get_job(id=job_id)
    if row is None:
        raise not_found(job_id)
    return job_of(row)


def get_job_status(connection: Connection, job_id: int) -> JobStatus:
    """Read where a job stands."""
    status = jobs.Querier(connection).get_job_status(id=job_id)
    if status is None:
        raise not_found(job_id)
    return JobStatus(status)


def list_alive_jobs(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Of some jobs, those that have not ended."""
    return list(jobs.Querier(connection).list_alive_jobs(ids=list(ids)))


def list_ticks(connection: Connection) -> dict[tuple[str, str], datetime]:
    """The last tick of each period that was deferred, by task and period."""
    return {
        (row.task_name, row.periodic_id): _tick(row.last_tick)
        for row in periodic.Querier(connection).list_ticks()
    }


def _tick(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        return UnreadableTime.of(str(seconds), str(error))


def list_jobs(
    connection: Connection, wanted: Filter, *, after: int | None, limit: int, newest_first: bool
) -> JobPage:
    """Read a page of jobs, in the order of their ids or against it."""
    if newest_first:
        start, end = None, _LAST if after is None else after
    else:
        start, end = _FIRST if after is None else after, None
    statuses = wanted.statuses
    rows: Iterator[listing.PageJobsRow] | Iterator[alive.PageAliveJobsRow]
    if wanted.ids is None and statuses <= ALIVE:
        rows = alive.Querier(connection).page_alive_jobs(
            by_line=JobStatus.TODO in statuses
            and wanted.lock is None
            and wanted.queueing_lock is None,
            # Where all that it looks at fits, more than the page would only be read.
            max_looked=limit if wanted.is_plain else _MAX_LOOKED_IN_LINE,
            after=start,
            before=end,
            max_jobs=limit,
            **_filters(wanted),
        )
    else:
        indexed = wanted.ids is None and statuses <= UNSUCCESSFUL
        fits = wanted.is_plain and (indexed or statuses == EVERY_STATUS)
        most = _MAX_LOOKED_BY_INDEX if indexed else _MAX_LOOKED
        rows = listing.Querier(connection).page_jobs(
            ids=wanted.ids,
            walks=wanted.ids is None and not indexed,
            unsuccessful=statuses_of(statuses) if indexed else [],
            max_looked=limit if fits else most,
            after=start,
            before=end,
            max_jobs=limit,
            **_filters(wanted),
        )
    found: list[Job] = []
    edge = None
    for row in rows:
        if row.matches:
            found.append(job_of(row))
        if row.is_edge:
            edge = row.id
    return JobPage(jobs=found, next_after=found[-1].id if len(found) == limit else edge)


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
        for row in counting.Querier(connection).count_jobs(ids=wanted.ids, **_filters(wanted))
    ]


def list_locks(connection: Connection, limit: int) -> list[LockState]:
    """The locks that jobs hold or wait for, those with the most that wait first."""
    return [
        LockState(lock=row.lock, held_by=row.held_by, waiting=row.waiting)
        for row in counting.Querier(connection).list_locks(max_locks=limit)
    ]


def list_workers(connection: Connection) -> list[WorkerState]:
    """The workers that are registered."""
    return [
        WorkerState(
            id=row.id,
            name=row.name,
            queues=None if row.serves_all else row.queue_names,
            started_at=row.started_at,
            last_heartbeat=row.last_heartbeat,
            seconds_since_heartbeat=row.seconds_since_heartbeat,
            doing=row.doing,
        )
        for row in workers.Querier(connection).list_workers()
    ]


def list_stalled_jobs(
    connection: Connection, stalled_after: float, *, queue: str | None, task: str | None
) -> list[Job]:
    """The jobs of workers that are dead."""
    rows = attempts.Querier(connection).list_stalled_jobs(
        stalled_after=stalled_after, queue_name=queue, task_name=task
    )
    return [job_of(row) for row in rows]


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
        status=STATUSES[row.status],
        scheduled_at=row.scheduled_at,
        deferred_at=row.deferred_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempt=row.attempt - row.uncounted,
        crashes=row.crashes,
        given_back=row.given_back or 0,
        worker_id=row.worker_id,
        abort_requested=row.abort_requested,
        result=row.result,
        claim=row.attempt,
    )


class _Filters(TypedDict):
    statuses: list[models.TaskqJobStatus]
    queue_name: str | None
    task_name: str | None
    lock: str | None
    queueing_lock: str | None
    worker_id: int | None
    deferred_after: datetime | None
    deferred_before: datetime | None
    finished_after: datetime | None
    finished_before: datetime | None
    args: Any


def _filters(wanted: Filter) -> _Filters:
    return {
        "statuses": statuses_of(wanted.statuses),
        "queue_name": wanted.queue,
        "task_name": wanted.task,
        "lock": wanted.lock,
        "queueing_lock": wanted.queueing_lock,
        "worker_id": wanted.worker_id,
        "deferred_after": wanted.deferred_after,
        "deferred_before": wanted.deferred_before,
        "finished_after": wanted.finished_after,
        "finished_before": wanted.finished_before,
        "args": None if wanted.task_kwargs is None else json.dumps(wanted.task_kwargs),
    }


def statuses_of(statuses: Iterable[JobStatus]) -> list[models.TaskqJobStatus]:
    """Statuses as the queries take them."""
    return [models.TaskqJobStatus(status) for status in statuses]
