"""The reading part of the job manager: single jobs, lists, counts, and who holds what."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Final, Unpack, get_args

from taskq import queries
from taskq.database.sync_async import async_method
from taskq.exceptions import InvalidFilter
from taskq.job import FailedAttempt, Job, JobStatus
from taskq.manager.bounds import check_count, check_id, check_seconds
from taskq.manager.operations import JobOperations
from taskq.messages import short_repr
from taskq.queries.filters import Filter, JobFilters
from taskq.queries.job_count import JobCount, JobCounts, LockState, QueueCounts
from taskq.queries.job_explain import Explanation
from taskq.queries.job_list import LONGEST_PAGE, JobPage
from taskq.queries.job_summary import SPANS, EndedBy, EndedJobs, LatestJob
from taskq.queries.workers import WorkerState

_PAGE = 100

_SHORTEST_WINDOW = timedelta(minutes=1)
_LONGEST_WINDOW = timedelta(days=366)


class Reading(JobOperations):
    """What may be read of jobs."""

    def get_job(self, job_id: int) -> Job:
        """Read a job.

        Args:
            job_id: The job.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id.
        """
        check_id("job_id", job_id)
        return self._run(queries.job_list.get_job, job_id)

    get_job_async: Final = async_method(get_job)

    def get_job_status(self, job_id: int) -> JobStatus:
        """Read where a job stands.

        Args:
            job_id: The job.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id.
        """
        check_id("job_id", job_id)
        return self._run(queries.job_list.get_job_status, job_id)

    get_job_status_async: Final = async_method(get_job_status)

    def explain_job(self, job_id: int, *, seconds_since_heartbeat: float = 30.0) -> Explanation:
        """Say why a job does not run: what it waits for, or that it runs or has ended.

        Args:
            job_id: The job.
            seconds_since_heartbeat: How long a worker must have been silent to be dead.

        Raises:
            JobNotFound: There is none with that id.
            InvalidFilter: It is no id, or no number of seconds can be that.
        """
        check_id("job_id", job_id)
        check_seconds("seconds_since_heartbeat", seconds_since_heartbeat)
        return self._run(queries.job_explain.explain_job, job_id, seconds_since_heartbeat)

    explain_job_async: Final = async_method(explain_job)

    def list_failed_attempts(self, job_id: int) -> list[FailedAttempt]:
        """Read why a job's attempts failed, the first one first; empty if none did."""
        check_id("job_id", job_id)
        return self._run(queries.job_list.list_failed_attempts, job_id)

    list_failed_attempts_async: Final = async_method(list_failed_attempts)

    def list_alive_jobs(self, ids: Iterable[int]) -> list[int]:
        """Find out which of some jobs have not ended, by their ids and in their order."""
        wanted = Filter.of({"ids": ids}).ids or []
        return self._run(queries.job_list.list_alive_jobs, wanted)

    list_alive_jobs_async: Final = async_method(list_alive_jobs)

    def list_jobs(
        self,
        *,
        after: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
        **filters: Unpack[JobFilters],
    ) -> JobPage:
        """Read a page of jobs, in the order of their ids, which is the order they were deferred in.

        A page takes some hundredths of a second at most, whatever is asked for and however many jobs
        there are: it scans a bounded number of them. So it may have few jobs, or none, and not be the
        last one: that is the one whose ``next_after`` is None.

        Args:
            after: Where the page begins: the ``next_after`` of the one before it.
            limit: How many jobs a page has at most, from 1 to 1,000; 100 if nothing is said, or
                with ``ids`` as many as they are.
            newest_first: Go from the highest id down, and not from the lowest up.
            **filters: Which jobs: see ``JobFilters``.

        Raises:
            InvalidFilter: A filter that jobs cannot be chosen by.
        """
        wanted = Filter.of(filters)
        if after is not None:
            check_id("after", after, beyond=InvalidFilter)
        if limit is None:
            limit = _PAGE if wanted.ids is None else max(len(wanted.ids), 1)
        else:
            check_count("limit", limit, LONGEST_PAGE, InvalidFilter)
        return self._run(
            queries.job_list.list_jobs,
            wanted,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )

    list_jobs_async: Final = async_method(list_jobs)

    def count_jobs(self, **filters: Unpack[JobFilters]) -> JobCounts:
        """Count jobs by queue, task and status.

        Those that wait or run are counted. Of those that are final, what is more than some thousands
        is estimated, from a sample of the table: ``estimated`` says which numbers are.

        Args:
            **filters: Which jobs: see ``JobFilters``.

        Raises:
            InvalidFilter: A filter that jobs cannot be chosen by.
        """
        return JobCounts(self._run(queries.job_count.count_jobs, Filter.of(filters)))

    count_jobs_async: Final = async_method(count_jobs)

    def list_queues(self, **filters: Unpack[JobFilters]) -> list[QueueCounts]:
        """List the queues that have jobs, by name, and how many of which status.

        As by ``count_jobs``: a queue of a big table in which nothing waits or runs, and little is kept,
        may be missing.

        Args:
            **filters: Which jobs: see ``JobFilters``.

        Raises:
            InvalidFilter: A filter that jobs cannot be chosen by.
        """
        counts = self._run(queries.job_count.count_jobs, Filter.of(filters))
        return _queue_counts(counts, lambda count: count.queue)

    list_queues_async: Final = async_method(list_queues)

    def list_tasks(self, **filters: Unpack[JobFilters]) -> list[QueueCounts]:
        """List the tasks that have jobs, by name, and how many of which status; as ``list_queues``."""
        counts = self._run(queries.job_count.count_jobs, Filter.of(filters))
        return _queue_counts(counts, lambda count: count.task)

    list_tasks_async: Final = async_method(list_tasks)

    def list_locks(self, *, limit: int = _PAGE) -> list[LockState]:
        """List the locks that jobs hold or wait for, those with the most that wait first.

        Args:
            limit: How many at most, from 1 to 1,000.

        Raises:
            InvalidFilter: The limit is none of these.
        """
        check_count("limit", limit, LONGEST_PAGE, InvalidFilter)
        return self._run(queries.job_count.list_locks, limit)

    list_locks_async: Final = async_method(list_locks)

    def list_workers(self) -> list[WorkerState]:
        """List the workers that are registered, and what each has in hand.

        One that died is there until another one finds out, ``stalled_worker_timeout`` after its last
        heartbeat.
        """
        return self._run(queries.workers.list_workers)

    list_workers_async: Final = async_method(list_workers)

    def list_ticks(self) -> dict[tuple[str, str], datetime]:
        """Read which tick of each periodic task was deferred last, by task name and ``periodic_id``."""
        return self._run(queries.periodic.list_ticks)

    list_ticks_async: Final = async_method(list_ticks)

    def get_server_time(self) -> datetime:
        """Read the server's clock, which the times of jobs go by."""
        return self._run(queries.session.get_server_time)

    get_server_time_async: Final = async_method(get_server_time)

    def summarize_ended(
        self, by: EndedBy, *, window: timedelta = timedelta(hours=1)
    ) -> list[EndedJobs]:
        """Find out how many jobs ended lately, how many of them failed, and for how long they ran.

        It takes some hundredths of a second however many jobs there are: of the 5,000 newest all are looked
        at, and of the others a sample. So figures are exact where few jobs are deferred. Jobs
        that are not kept are not in them.

        Args:
            by: By what they are put together: ``"time"`` (sixty spans of the window; those without any are
                not there), ``"queue"`` or ``"task"``.
            window: Until now, at least a minute.

        Raises:
            InvalidFilter: It is by something else, or the window is none.
        """
        if by not in get_args(EndedBy):
            raise InvalidFilter(f"by={short_repr(by)}: it is 'time', 'queue' or 'task'")
        span: object = window
        if not isinstance(span, timedelta) or not _SHORTEST_WINDOW <= span <= _LONGEST_WINDOW:
            raise InvalidFilter(
                f"window={short_repr(window)}: give a timedelta, from a minute to a year"
            )
        return self._run(
            queries.job_summary.summarize_ended, by, int(span.total_seconds()) // SPANS
        )

    summarize_ended_async: Final = async_method(summarize_ended)

    def list_latest_jobs(self, tasks: Iterable[str]) -> dict[str, LatestJob]:
        """Read the newest job of each of some tasks, by their names.

        Only the 10,000 newest jobs of all are looked at: of a task without one of these there is none.

        Args:
            tasks: The names.

        Raises:
            InvalidFilter: No task can have such a name.
        """
        names = list(tasks)
        for name in names:
            Filter.of({"task": name})
        return self._run(queries.job_summary.list_latest_jobs, names)

    list_latest_jobs_async: Final = async_method(list_latest_jobs)

    def get_stalled_jobs(
        self,
        *,
        queue: str | None = None,
        task: str | None = None,
        seconds_since_heartbeat: float = 30.0,
    ) -> list[Job]:
        """Read the jobs whose worker died. Workers put them back into the queue by themselves.

        Args:
            queue: Of this queue alone.
            task: Of this task alone.
            seconds_since_heartbeat: How long a worker must have been silent to be dead.

        Raises:
            InvalidFilter: No queue, task or number of seconds can be that.
        """
        check_seconds("seconds_since_heartbeat", seconds_since_heartbeat)
        wanted = Filter.of({"queue": queue, "task": task})
        return self._run(
            queries.job_rescue.list_stalled_jobs,
            seconds_since_heartbeat,
            queue=wanted.queue,
            task=wanted.task,
        )

    get_stalled_jobs_async: Final = async_method(get_stalled_jobs)


def _queue_counts(
    counts: Iterable[JobCount], name_of: Callable[[JobCount], str]
) -> list[QueueCounts]:
    by_name: dict[str, list[JobCount]] = {}
    for count in counts:
        by_name.setdefault(name_of(count), []).append(count)
    return [
        QueueCounts(
            name=name,
            jobs={
                status: sum(count.jobs for count in found if count.status is status)
                for status in JobStatus
            },
            estimated=frozenset(count.status for count in found if count.is_estimate),
            longest_wait=max(
                (count.longest_wait for count in found if count.longest_wait is not None),
                default=None,
            ),
        )
        for name, found in sorted(by_name.items())
    ]
