"""The changing part of the job manager: what an operator does to jobs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Unpack

from taskq import queries
from taskq.database.sync_async import async_method
from taskq.exceptions import InvalidFilter, InvalidJob
from taskq.job import JobStatus
from taskq.manager.bounds import check_id, check_switch, check_times
from taskq.manager.operations import JobOperations
from taskq.messages import short_repr
from taskq.queries.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL, Filter, JobFilters
from taskq.queries.job_change import Changes
from taskq.queries.retention import delete_old_jobs
from taskq.times import TimeDeltaParams, read_wait


class Changing(JobOperations):
    """What may be done to jobs."""

    def cancel_job_by_id(self, job_id: int, abort: bool = False, delete_job: bool = False) -> bool:
        """Cancel a job that waits, or have one that runs aborted.

        Args:
            job_id: The job.
            abort: If it runs, ask its worker to abort it. An async task is cancelled; a sync task
                has to ask ``context.should_abort()``.
            delete_job: If it waits, delete it rather than keep it as cancelled.

        Returns:
            Whether it was cancelled, deleted or asked to abort; False for one that is final, and for
            one that runs if ``abort`` is not set.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id.
        """
        check_id("job_id", job_id)
        check_switch("abort", abort)
        check_switch("delete_job", delete_job)
        return self._run(queries.job_change.cancel_job, job_id, abort=abort, delete_job=delete_job)

    cancel_job_by_id_async: Final = async_method(cancel_job_by_id)

    def cancel_jobs(
        self,
        *,
        abort: bool = False,
        **filters: Unpack[JobFilters],
    ) -> int:
        """Cancel the jobs that wait, and fit the filters; page by page, each in its own transaction.

        Args:
            abort: Have those that run aborted, too.
            **filters: Which jobs: see ``JobFilters``; at least one.

        Returns:
            How many were cancelled or asked to abort.

        Raises:
            InvalidFilter: There is no filter, or one that no such job can fit.
        """
        statuses = ALIVE if abort else {JobStatus.TODO}
        wanted = _given(filters, "cancel_jobs").only(statuses, operation="cancel_jobs")
        return self._run(queries.job_change.cancel_jobs, wanted, abort=abort)

    cancel_jobs_async: Final = async_method(cancel_jobs)

    def retry_job_by_id(
        self,
        job_id: int,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
        *,
        retry_in: timedelta | TimeDeltaParams | None = None,
    ) -> None:
        """Put a job that failed, was cancelled or was aborted back into the queue.

        It keeps its id, its attempts and their errors; the next attempt counts on.

        Args:
            job_id: The job.
            retry_at: When it may start, with a time zone; at once if neither this nor ``retry_in``.
            priority: Its priority from now on; None: as it was; so below.
            queue: Its queue.
            lock: Its lock.
            retry_in: In how long from now, by the server's clock: a ``timedelta`` or its keywords.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id.
            InvalidTransition: It waits, runs or has succeeded; the message says which.
            AlreadyEnqueued: Another job with its queueing lock waits.
            InvalidJob: No job can have such a time, priority, queue or lock, or both times are given.
        """
        check_id("job_id", job_id)
        at, wait = check_times(f"job {job_id}", "retry", retry_at, retry_in)
        retry = partial(
            queries.job_change.retry_job,
            job_id=job_id,
            retry_at=at,
            retry_in=wait,
            changed=Changes.of(f"job {job_id}", priority=priority, queue=queue, lock=lock),
        )
        return self._run_naming(retry)

    retry_job_by_id_async: Final = async_method(retry_job_by_id)

    def retry_jobs(
        self,
        *,
        retry_at: datetime | None = None,
        retry_in: timedelta | TimeDeltaParams | None = None,
        **filters: Unpack[JobFilters],
    ) -> int:
        """Put the jobs that failed, were cancelled or were aborted, and fit the filters, back into the queue.

        Page by page, each in its own transaction. One whose queueing lock a job that waits already has
        stays as it is.

        Args:
            retry_at: When they may start, with a time zone; at once if neither this nor ``retry_in``.
            retry_in: In how long from now, by the server's clock: a ``timedelta`` or its keywords.
            **filters: Which jobs: see ``JobFilters``; at least one.

        Returns:
            How many were put back.

        Raises:
            InvalidFilter: There is no filter, or one that no such job can fit.
            InvalidJob: No job can have such a time, or both times are given.
            AlreadyEnqueued: A job with the queueing lock of one of them came in the same moment: what
                was left of the jobs is still to be retried.
        """
        wanted = _given(filters, "retry_jobs").only(UNSUCCESSFUL, operation="retry_jobs")
        at, wait = check_times("retry_jobs", "retry", retry_at, retry_in)
        return self._run(queries.job_change.retry_jobs, wanted, retry_at=at, retry_in=wait)

    retry_jobs_async: Final = async_method(retry_jobs)

    def reschedule_job(
        self,
        job_id: int,
        *,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | TimeDeltaParams | None = None,
        priority: int | None = None,
        queue: str | None = None,
    ) -> None:
        """Give a job that waits another time, priority or queue; what is not given stays as it is.

        Args:
            job_id: The job.
            schedule_at: When it may start, with a time zone.
            schedule_in: In how long from now, by the server's clock: a ``timedelta`` or its keywords;
                0 is at once.
            priority: Its priority.
            queue: Its queue.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id.
            InvalidTransition: It does not wait; the message says what it does.
            InvalidJob: Nothing is given, or both times, or what no job can have.
        """
        check_id("job_id", job_id)
        given = (schedule_at, schedule_in, priority, queue)
        if all(value is None for value in given):
            raise InvalidJob(
                f"job {job_id} is to be rescheduled, and nothing about it is to be changed: give "
                "schedule_at, schedule_in, priority or queue"
            )
        at, wait = check_times(f"job {job_id}", "schedule", schedule_at, schedule_in)
        self._run(
            queries.job_change.reschedule_job,
            job_id,
            schedule_at=at,
            schedule_in=wait,
            changed=Changes.of(f"job {job_id}", priority=priority, queue=queue),
        )

    reschedule_job_async: Final = async_method(reschedule_job)

    def reschedule_jobs(
        self,
        *,
        schedule_at: datetime | None = None,
        schedule_in: timedelta | TimeDeltaParams | None = None,
        priority: int | None = None,
        new_queue: str | None = None,
        **filters: Unpack[JobFilters],
    ) -> int:
        """Give the jobs that wait, and fit the filters, another time, priority or queue.

        Page by page, each in its own transaction. What is not given stays as it is.

        Args:
            schedule_at: When they may start, with a time zone.
            schedule_in: In how long from now, by the server's clock: a ``timedelta`` or its keywords;
                0 is at once.
            priority: Their priority.
            new_queue: The queue that they go to.
            **filters: Which jobs: see ``JobFilters``; at least one.

        Returns:
            How many there were.

        Raises:
            InvalidFilter: There is no filter, or one that no such job can fit.
            InvalidJob: Nothing is given, or both times, or what no job can have.
        """
        wanted = _given(filters, "reschedule_jobs").only(
            {JobStatus.TODO}, operation="reschedule_jobs"
        )
        if all(value is None for value in (schedule_at, schedule_in, priority, new_queue)):
            raise InvalidJob(
                "jobs are to be rescheduled, and nothing about them is to be changed: give schedule_at, "
                "schedule_in, priority or new_queue"
            )
        at, wait = check_times("reschedule_jobs", "schedule", schedule_at, schedule_in)
        return self._run(
            queries.job_change.reschedule_jobs,
            wanted,
            schedule_at=at,
            schedule_in=wait,
            changed=Changes.of("jobs", priority=priority, queue=new_queue),
        )

    reschedule_jobs_async: Final = async_method(reschedule_jobs)

    def delete_jobs(self, **filters: Unpack[JobFilters]) -> int:
        """Delete the jobs that do not run, and fit the filters, with all that is kept of them.

        Page by page, each in its own transaction. Jobs that run are passed over: cancel them first.

        Args:
            **filters: Which jobs: see ``JobFilters``; at least one.

        Returns:
            How many were deleted.

        Raises:
            InvalidFilter: There is no filter, or one that no such job can fit.
        """
        wanted = _given(filters, "delete_jobs")
        deletable = EVERY_STATUS - {JobStatus.DOING}
        return self._run(
            queries.job_change.delete_jobs,
            wanted.only(deletable, operation="delete_jobs"),
        )

    delete_jobs_async: Final = async_method(delete_jobs)

    def delete_old_jobs(
        self,
        older_than: timedelta | TimeDeltaParams,
        *,
        queue: str | None = None,
        include_failed: bool = False,
        include_cancelled: bool = False,
        include_aborted: bool = False,
    ) -> int:
        """Delete jobs that finished long ago, with all that is kept of them.

        A few hundred at a time, each time in a transaction of its own. To have it done always, see
        the ``retention`` of ``App``.

        Args:
            older_than: How long ago they finished, at least: a ``timedelta`` or its keywords.
            queue: Those of this queue alone.
            include_failed: Also those that failed; otherwise only those that succeeded.
            include_cancelled: Also those that were cancelled.
            include_aborted: Also those that were aborted.

        Returns:
            How many were deleted.

        Raises:
            InvalidFilter: No job can have finished so long ago, or be in such a queue.
        """
        try:
            age = read_wait(older_than)
            if age < timedelta(0):
                raise ValueError("which is less than nothing")
        except ValueError as error:
            raise InvalidFilter(
                f"older_than={short_repr(older_than)} makes no sense: {error}"
            ) from None
        included = {
            JobStatus.SUCCEEDED: True,
            JobStatus.FAILED: include_failed,
            JobStatus.CANCELLED: include_cancelled,
            JobStatus.ABORTED: include_aborted,
        }
        return self._run(
            delete_old_jobs,
            {status: age for status, is_included in included.items() if is_included},
            queue=Filter.of({"queue": queue}).queue,
        )

    delete_old_jobs_async: Final = async_method(delete_old_jobs)


def _given(filters: Mapping[str, object], operation: str) -> Filter:
    wanted = Filter.of(filters)
    if wanted.is_empty:
        raise InvalidFilter(
            f"{operation} without a filter would take every job: say which, or name all statuses"
        )
    return wanted
