"""Jobs that are waited for: which have ended, and which are yet to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg.errors import InsufficientPrivilege

from taskq.job import Job
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import job_of
from taskq_sql import job_wait, models

_querier = on_any(job_wait.Querier)

_ALIVE = {models.TaskqJobStatus.TODO, models.TaskqJobStatus.DOING}


@dataclass(frozen=True, slots=True, kw_only=True)
class AwaitedJob:
    """A job that has not ended.

    Attributes:
        task_name: The task's name, or an alias of it.
        queue: Where it awaits execution.
        is_marked: Whether its end will be notified. If it is not, another transaction has the job's row, it
            has ended meanwhile, or this role may not have it notified.
    """

    task_name: str
    queue: str
    is_marked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedJobs:
    """What has become of jobs.

    Attributes:
        ended: Those that have ended, by their ids.
        awaited: Those that have not. The others are not there.
        may_mark: Whether this role may have ends notified.
    """

    ended: Mapping[int, Job]
    awaited: Mapping[int, AwaitedJob]
    may_mark: bool


def check_jobs(connection: Connection, ids: Sequence[int], *, may_mark: bool) -> CheckedJobs:
    """Find out which of some jobs have ended, and have the ends of the others notified.

    Args:
        connection: Where.
        ids: The jobs.
        may_mark: Whether to have them notified. A role that may only read is refused once, and then polls.
    """
    querier = _querier(connection)
    ended = {row.id: job_of(row) for row in querier.list_ended_jobs(ids=list(ids))}
    left = [job_id for job_id in ids if job_id not in ended]
    found = {row.id: row for row in (querier.list_awaited_jobs(ids=left) if left else ())}
    unmarked = [row.id for row in found.values() if not row.is_marked and row.status in _ALIVE]
    marked: set[int] = set()
    if unmarked and may_mark:
        try:
            marked = {row.id for row in querier.await_jobs(ids=unmarked)}
        except InsufficientPrivilege:
            may_mark = False
    awaited = {
        row.id: AwaitedJob(
            task_name=row.task_name,
            queue=row.queue_name,
            is_marked=(row.is_marked or row.id in marked) and row.status in _ALIVE,
        )
        for row in found.values()
    }
    return CheckedJobs(ended=ended, awaited=awaited, may_mark=may_mark)
