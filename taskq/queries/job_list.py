"""Jobs, one by one and page by page."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from taskq.job import FailedAttempt, Job, JobStatus
from taskq.queries.connection import Connection, on_any
from taskq.queries.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL, Filter, filter_arguments
from taskq.queries.rows import job_of, not_found, statuses_of
from taskq_sql import job_list

_querier = on_any(job_list.Querier)

LONGEST_PAGE = 1000
# How many jobs are scanned for a page at most: along the primary key, where they lie one beside the
# other; along another index, where they do not; and in a line of those that wait. The queries end there too.
_MAX_SCANNED = 10_000
_MAX_SCANNED_BY_INDEX = 2000
_MAX_SCANNED_IN_LINE = 1000
# Before the first id, and beyond any. Not -2**63: psycopg2 writes a number into the statement's text, where
# that is minus a number that is too large.
_FIRST = 1 - 2**63
_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage(Sequence[Job]):
    """A page of a list of jobs; itself the sequence of them.

    Attributes:
        jobs: The jobs. A page may have few, or none, and not be the last: no page is worth a
            scan of millions of jobs.
        next_after: What to give as ``after`` for the next page; None: this is the last one.
    """

    jobs: Sequence[Job]
    next_after: int | None

    def __len__(self) -> int:
        return len(self.jobs)

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        return self.jobs[index]


def list_failed_attempts(connection: Connection, job_id: int) -> list[FailedAttempt]:
    """Read why a job's attempts failed, the first one first."""
    return [
        FailedAttempt(
            claim=row.claim,
            attempt=row.attempt,
            worker_id=row.worker_id,
            failed_at=row.failed_at,
            error_type=row.error_type,
            error_message=row.error_message,
            error_traceback=row.error_traceback,
            started_at=row.started_at,
        )
        for row in _querier(connection).list_failed_attempts(job_id=job_id)
    ]


def get_job(connection: Connection, job_id: int) -> Job:
    """Read a job."""
    row = _querier(connection).get_job(id=job_id)
    if row is None:
        raise not_found(job_id)
    return job_of(row)


def get_job_status(connection: Connection, job_id: int) -> JobStatus:
    """Read where a job stands."""
    status = _querier(connection).get_job_status(id=job_id)
    if status is None:
        raise not_found(job_id)
    return JobStatus(status)


def list_alive_jobs(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Of some jobs, those that have not ended."""
    return list(_querier(connection).list_alive_jobs(ids=list(ids)))


def list_jobs(
    connection: Connection, wanted: Filter, *, after: int | None, limit: int, newest_first: bool
) -> JobPage:
    """Read a page of jobs, in the order of their ids or against it."""
    if newest_first:
        start, end = None, _LAST if after is None else after
    else:
        start, end = _FIRST if after is None else after, None
    statuses = wanted.statuses
    alive = wanted.ids is None and statuses <= ALIVE
    indexed = wanted.ids is None and statuses <= UNSUCCESSFUL
    walks = wanted.ids is None and not alive and not indexed
    # Where all that it scans fits, more than the page would only be read.
    fits = wanted.is_plain and (not walks or statuses == EVERY_STATUS)
    most = _MAX_SCANNED_IN_LINE if alive else _MAX_SCANNED_BY_INDEX if indexed else _MAX_SCANNED
    rows = _querier(connection).page_jobs(
        ids=wanted.ids,
        walks=walks,
        unsuccessful=statuses_of(statuses) if indexed else [],
        alive=alive,
        by_line=alive
        and JobStatus.TODO in statuses
        and wanted.lock is None
        and wanted.queueing_lock is None,
        max_scanned=limit if fits else most,
        after=start,
        before=end,
        max_jobs=limit,
        **filter_arguments(wanted),
    )
    found: list[Job] = []
    edge = None
    for row in rows:
        if row.matches:
            found.append(job_of(row))
        if row.is_edge:
            edge = row.id
    return JobPage(jobs=found, next_after=found[-1].id if len(found) == limit else edge)
