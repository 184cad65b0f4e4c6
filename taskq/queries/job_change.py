"""What an operator does to jobs."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidJob,
    InvalidName,
    InvalidTransition,
)
from taskq.job import JobStatus, Name, Priority
from taskq.messages import short_repr, validation_summary
from taskq.queries.connection import Connection, on_any
from taskq.queries.filters import EVERY_STATUS, UNSUCCESSFUL, Filter
from taskq.queries.job_list import list_jobs
from taskq.queries.rows import not_found, statuses_of
from taskq_sql import job_change, models

_querier = on_any(job_change.Querier)

# Jobs that are changed in one statement: some hundredths of a second.
_CHUNK = 500
_RETRIABLE = "only a job that failed, was cancelled or was aborted is retried"
_NO_RETRY = {
    JobStatus.TODO: f"{_RETRIABLE}; to move one that waits, reschedule it",
    JobStatus.DOING: f"{_RETRIABLE}; to stop one that runs, cancel it with abort=True",
    JobStatus.SUCCEEDED: f"{_RETRIABLE}; to run it again, defer another one",
}
_WAITING = "only a job that waits is rescheduled"
_NO_SCHEDULE = {
    JobStatus.DOING: f"{_WAITING}; to stop one that runs, cancel it with abort=True",
    JobStatus.SUCCEEDED: f"{_WAITING}; to run it again, defer another one",
    **dict.fromkeys(UNSUCCESSFUL, f"{_WAITING}; to run it again, retry it"),
}


class Changes(BaseModel):
    """The priority, queue and lock of jobs from now on; None: as they were."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True)

    priority: Priority | None = None
    queue: Name | None = None
    lock: Name | None = None

    @classmethod
    def of(cls, what: str, **given: Any) -> Self:
        """Check what a caller gave, for what the message calls so.

        Raises:
            InvalidJob: No job can have it.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            name = str(error.errors(include_url=False)[0]["loc"][0])
            refusal = InvalidJob if name == "priority" else InvalidName
            raise refusal(
                f"{what} cannot have {name}={short_repr(given[name])}: "
                f"{validation_summary(error, skip=1)}"
            ) from None


def cancel_job(connection: Connection, job_id: int, *, abort: bool, delete_job: bool) -> bool:
    """Cancel a job that waits, or ask the worker of one that runs to abort it."""
    rows = _querier(connection).cancel_jobs(
        ids=[job_id], statuses=statuses_of(EVERY_STATUS), abort=abort, delete_job=delete_job
    )
    for row in rows:
        return row.done
    raise not_found(job_id)


def cancel_jobs(connection: Connection, wanted: Filter, *, abort: bool) -> int:
    """Cancel jobs that wait, and have those that run aborted; returns how many."""
    querier = _querier(connection)
    return sum(
        row.done
        for ids in _chunks(connection, wanted)
        for row in querier.cancel_jobs(
            ids=ids, statuses=_statuses(wanted), abort=abort, delete_job=False
        )
    )


def retry_job(
    connection: Connection,
    job_id: int,
    *,
    retry_at: datetime | None,
    retry_in: timedelta | None,
    changed: Changes,
) -> None:
    """Put a job that is final back into the queue."""
    rows = _querier(connection).retry_jobs(
        ids=[job_id],
        statuses=statuses_of(EVERY_STATUS),
        retry_at=retry_at,
        retry_in=_seconds(retry_in),
        priority=changed.priority,
        queue_name=changed.queue,
        lock=changed.lock,
    )
    for row in rows:
        status = JobStatus(row.status)
        if row.done:
            return
        if status in UNSUCCESSFUL and row.queueing_lock is not None:
            raise AlreadyEnqueued(row.queueing_lock, row.conflicting_id or None, retried=job_id)
        raise InvalidTransition(job_id, status, _NO_RETRY[status])
    raise not_found(job_id)


def retry_jobs(
    connection: Connection,
    wanted: Filter,
    *,
    retry_at: datetime | None,
    retry_in: timedelta | None,
) -> int:
    """Put jobs that are final back into the queue; returns how many."""
    querier = _querier(connection)
    return sum(
        row.done
        for ids in _chunks(connection, wanted)
        for row in querier.retry_jobs(
            ids=ids,
            statuses=_statuses(wanted),
            retry_at=retry_at,
            retry_in=_seconds(retry_in),
            priority=None,
            queue_name=None,
            lock=None,
        )
    )


def reschedule_job(
    connection: Connection,
    job_id: int,
    *,
    schedule_at: datetime | None,
    schedule_in: timedelta | None,
    changed: Changes,
) -> None:
    """Give a job that waits another time, priority or queue."""
    rows = _querier(connection).reschedule_jobs(
        ids=[job_id],
        statuses=statuses_of(EVERY_STATUS),
        schedule_at=schedule_at,
        schedule_in=_seconds(schedule_in),
        priority=changed.priority,
        queue_name=changed.queue,
    )
    for row in rows:
        if not row.done:
            status = JobStatus(row.status)
            raise InvalidTransition(job_id, status, _NO_SCHEDULE[status])
        return
    raise not_found(job_id)


def reschedule_jobs(
    connection: Connection,
    wanted: Filter,
    *,
    schedule_at: datetime | None,
    schedule_in: timedelta | None,
    changed: Changes,
) -> int:
    """Give jobs that wait another time, priority or queue; returns how many."""
    querier = _querier(connection)
    return sum(
        row.done
        for ids in _chunks(connection, wanted)
        for row in querier.reschedule_jobs(
            ids=ids,
            statuses=_statuses(wanted),
            schedule_at=schedule_at,
            schedule_in=_seconds(schedule_in),
            priority=changed.priority,
            queue_name=changed.queue,
        )
    )


def delete_jobs(connection: Connection, wanted: Filter) -> int:
    """Delete jobs that do not run; returns how many."""
    querier = _querier(connection)
    return sum(
        sum(1 for _ in querier.delete_jobs(ids=ids, statuses=_statuses(wanted)))
        for ids in _chunks(connection, wanted)
    )


def _seconds(wait: timedelta | None) -> float | None:
    return None if wait is None else wait.total_seconds()


def _chunks(connection: Connection, wanted: Filter) -> Iterator[list[int]]:
    after = None
    while True:
        page = list_jobs(connection, wanted, after=after, limit=_CHUNK, newest_first=False)
        if page:
            yield [job.id for job in page]
        if page.next_after is None:
            return
        after = page.next_after


def _statuses(wanted: Filter) -> list[models.TaskqJobStatus]:
    return statuses_of(wanted.statuses)
