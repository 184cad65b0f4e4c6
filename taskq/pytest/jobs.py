"""Jobs: what a test asks of the jobs of an app, and has done with them."""

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar, overload

from sqlalchemy.util import await_only

from taskq.app import App
from taskq.database.connection_database import ConnectionDatabase
from taskq.database.sync_async import SyncAsync, async_method
from taskq.exceptions import InvalidOption
from taskq.job import Job, JobStatus
from taskq.manager import JobPage
from taskq.messages import short_repr
from taskq.pytest.calling_thread import CallingThread
from taskq.pytest.driver import Attempted, Driver
from taskq.pytest.matching import Wanted
from taskq.pytest.ran import Ran
from taskq.task import Task
from taskq.task_deferrer import TaskDeferrer
from taskq.worker.options import WorkerArguments
from taskq.worker.thread_pool import DaemonThreadPool

T = TypeVar("T")

_PAGE = 1_000


class Jobs(SyncAsync):
    """The jobs of an app in a test. Each method has an async twin, named ``…_async``.

    The fixture ``jobs`` is one; ``jobs_on`` makes one for a connection.

    Args:
        app: The app, on the database of the test.
        worker_options: Options of the worker that jobs are run as by; they win over those of the app.

    Attributes:
        app: The app.
    """

    def __init__(self, app: App, *, worker_options: WorkerArguments | None = None) -> None:
        super().__init__(lambda: app.database)
        self.app: App = app
        self._options: WorkerArguments = worker_options or {}

    # What was deferred

    def deferred(self, task: Task[..., Any] | str, /, **task_kwargs: Any) -> list[Job]:
        """The jobs of a task that were deferred with these arguments, whatever has become of them.

        Args:
            task: The task; or the name of one of another program.
            **task_kwargs: Some of its arguments: the others may be whatever they are. A value fits that is
                equal, as the task gets it or as it is stored; so does ``unittest.mock.ANY``.

        Returns:
            The jobs, in the order in which they were deferred.

        Raises:
            InvalidArguments: The task takes no argument of such a name.
        """
        return self._fitting(Wanted(task, task_kwargs))[0]

    deferred_async: Final = async_method(deferred)

    def assert_deferred(self, task: Task[..., Any] | str, /, **task_kwargs: Any) -> list[Job]:
        """Fail the test unless a job of a task was deferred with these arguments.

        Args:
            task: As for ``deferred``.
            **task_kwargs: As for ``deferred``.

        Returns:
            The jobs that fit, at least one.

        Raises:
            AssertionError: None fits; the message has those of the task, and what differs.
            InvalidArguments: The task takes no argument of such a name.
        """
        wanted = Wanted(task, task_kwargs)
        fitting, of_task = self._fitting(wanted)
        if not fitting:
            others: dict[str, int] = {}
            for job in () if of_task else self._jobs():
                others[job.task_name] = others.get(job.task_name, 0) + 1
            raise AssertionError(wanted.not_deferred(of_task, others))
        return fitting

    assert_deferred_async: Final = async_method(assert_deferred)

    def assert_not_deferred(self, task: Task[..., Any] | str, /, **task_kwargs: Any) -> None:
        """Fail the test if a job of a task was deferred with these arguments.

        Args:
            task: As for ``deferred``.
            **task_kwargs: As for ``deferred``; without any, no job of the task at all.

        Raises:
            AssertionError: One was; the message has it.
            InvalidArguments: The task takes no argument of such a name.
        """
        wanted = Wanted(task, task_kwargs)
        if fitting := self._fitting(wanted)[0]:
            raise AssertionError(wanted.deferred_after_all(fitting))

    assert_not_deferred_async: Final = async_method(assert_not_deferred)

    # Running

    @overload
    def run(
        self,
        task: Task[..., Coroutine[Any, Any, T]] | TaskDeferrer[..., Any, Coroutine[Any, Any, T]],
        /,
        *,
        attempt: int | None = None,
        **task_kwargs: Any,
    ) -> Ran[T]: ...
    @overload
    def run(
        self,
        task: Task[..., T] | TaskDeferrer[..., Any, T],
        /,
        *,
        attempt: int | None = None,
        **task_kwargs: Any,
    ) -> Ran[T]: ...
    @overload
    def run(self, task: Job, /, *, attempt: int | None = None) -> Ran[Any]: ...
    def run(self, task: Any, /, *, attempt: int | None = None, **task_kwargs: Any) -> Any:
        """Run one attempt of a job as a worker does, and no other job.

        It is deferred, claimed and finished in the database; its arguments and its result are checked on
        their way in and out, middleware is called, a failure is asked of its retry strategy, which may have
        it run again.

        Args:
            task: The task; or ``task.configure(…)``, for a job with options; or a job that was deferred
                before.
            attempt: The number of the attempt, from 1, as for the third of a retry strategy; None: the next
                one, which is the first of a new job. An argument of that name is given by
                ``task.configure(task_kwargs=…)``.
            **task_kwargs: The arguments.

        Returns:
            What came of it, also if the task raised an error: that is ``error``, and ``result`` raises.

        Raises:
            InvalidArguments: The arguments do not fit the task.
            AssertionError: The job may not begin now, such as while an earlier job has its lock; the message
                says why.
        """
        _check_attempt(attempt)
        if isinstance(task, Job):
            job_id = task.id
        elif self._awaits:
            job_id = await_only(task.defer_async(**task_kwargs))
        else:
            job_id = task.defer(**task_kwargs)
        if job_id is None:
            raise AssertionError(
                f"no job of {task.task_name} was deferred: one with its queueing lock waits already, as "
                "on_conflict='skip' has it"
            )
        manager = self.app.job_manager
        before = (
            await_only(manager.get_job_async(job_id)) if self._awaits else manager.get_job(job_id)
        )
        attempted = self._drive(lambda driver: driver.run_one(job_id, attempt))
        return self._ran(before, attempted)

    @overload
    async def run_async(
        self,
        task: Task[..., Coroutine[Any, Any, T]] | TaskDeferrer[..., Any, Coroutine[Any, Any, T]],
        /,
        *,
        attempt: int | None = None,
        **task_kwargs: Any,
    ) -> Ran[T]: ...
    @overload
    async def run_async(
        self,
        task: Task[..., T] | TaskDeferrer[..., Any, T],
        /,
        *,
        attempt: int | None = None,
        **task_kwargs: Any,
    ) -> Ran[T]: ...
    @overload
    async def run_async(self, task: Job, /, *, attempt: int | None = None) -> Ran[Any]: ...
    async def run_async(
        self, task: Any, /, *, attempt: int | None = None, **task_kwargs: Any
    ) -> Any:
        """The async twin of ``run``."""
        return await _run_async(self, task, attempt=attempt, **task_kwargs)

    def drain(
        self,
        *,
        with_scheduled: bool = False,
        until: datetime | timedelta | None = None,
        queues: Sequence[str] | str | None = None,
    ) -> dict[JobStatus, int]:
        """Run what waits, and what that defers, one after the other, until nothing is left that may begin.

        With ``with_scheduled`` or ``until`` time moves on while there is nothing to run: to when the next job
        is due, is to be tried again, may start by the rate of its limit, or expires. Nothing sleeps, and it
        is exact: what is due at ``until`` is run, and what is due a microsecond later is not. Afterwards the
        time is what it was, and jobs have the times at which they would have run.

        Args:
            with_scheduled: Whether to run jobs that are not due yet.
            until: How far time moves on, from now or with a time zone; None: until nothing is left.
            queues: Of which queues; None: of all.

        Returns:
            How many of the jobs that ran are now in which status, and how many were cancelled as they
            expired; what is to run again is ``"todo"``.

        Raises:
            InvalidOption: ``until`` has no time zone.
            AssertionError: There is no end to it.
        """
        if isinstance(until, datetime) and until.tzinfo is None:
            raise InvalidOption(
                f"until={short_repr(until)} has no time zone: give it one, as in datetime.now(UTC), or say "
                "how long from now, as in timedelta(hours=1)"
            )
        if not isinstance(until, datetime | timedelta | None):
            raise InvalidOption(
                f"until={short_repr(until)}: give a datetime with a time zone, a timedelta from now, or None"
            )
        named = [queues] if isinstance(queues, str) else queues
        return self._drive(
            lambda driver: driver.drain(
                queues=named, until=until, scheduled=with_scheduled or until is not None
            )
        )

    drain_async: Final = async_method(drain)

    def advance(self, by: timedelta) -> None:
        """Have time pass in which nothing runs: all that is stored becomes older by so much, and stays so.

        What is to be in an hour is then due, and has expired if it was to begin by then. The clocks stay as
        they are.

        Args:
            by: By how much.
        """
        self._drive(lambda driver: driver.move_time(by))

    advance_async: Final = async_method(advance)

    def declare(self) -> None:
        """Declare the limits and the subscriptions of the app, as a worker does that starts.

        The fixture has done so, and each ``drain`` and ``run`` does, for what was declared since.
        """
        self._drive(lambda driver: driver.declare())

    declare_async: Final = async_method(declare)

    # How

    def _drive(self, driven: Callable[[Driver], Coroutine[Any, Any, T]]) -> T:
        if self._awaits:
            pool = DaemonThreadPool(1)
            driver = Driver(self.app, self._options, pool)
            try:
                return await_only(driven(driver))
            finally:
                driver.close()
                pool.shutdown()
        here = CallingThread()
        with closing(Driver(self.app, self._options, here)) as driver:
            return here.run(driven(driver))

    def _ran(self, before: Job, attempted: Attempted) -> Ran[Any]:
        page = self._page(ids=[before.id])
        # It is not there if the worker deletes what has succeeded.
        job = page.jobs[0] if page.jobs else before
        task = self.app.tasks.get(job.task_name)

        def result() -> Any:
            if task is not None and task.store_result and page.jobs:
                return task.result(job)
            return attempted.returned

        return Ran(
            job=job,
            ending=attempted.decision.ending,
            error=attempted.decision.error,
            get_result=result,
        )

    def _fitting(self, wanted: Wanted) -> tuple[list[Job], list[Job]]:
        of_task = [job for name in wanted.names for job in self._jobs(name)]
        of_task.sort(key=lambda job: job.id)
        return [job for job in of_task if not wanted.differences(job)], of_task

    def _jobs(self, task_name: str | None = None) -> list[Job]:
        jobs: list[Job] = []
        after: int | None = None
        while True:
            page = self._page(task=task_name, after=after, limit=_PAGE)
            jobs.extend(page.jobs)
            if page.next_after is None:
                return jobs
            after = page.next_after

    def _page(self, **wanted: Any) -> JobPage:
        manager = self.app.job_manager
        if self._awaits:
            return await_only(manager.list_jobs_async(**wanted))
        return manager.list_jobs(**wanted)


_run_async: Any = async_method(Jobs.run)


@contextmanager
def jobs_on(
    app: App, connection: Any, *, worker_options: WorkerArguments | None = None
) -> Generator[Jobs]:
    """Put an app on one connection for the time of a block, in whose transaction all its jobs are.

    For tests that run in a transaction and roll it back, as Django's ``TestCase`` does, and SQLAlchemy's
    sessions with ``join_transaction_mode="create_savepoint"``. The schema is to be there.

    Args:
        app: The app.
        connection: A SQLAlchemy ``Connection`` or ``Session`` or a ``psycopg.Connection``, or their async
            twins; or Django's connection, as in ``django.db.connection``.
        worker_options: Options of the worker that jobs are run as by.

    Raises:
        InvalidDatabase: ``connection`` is none of these, or is in autocommit on the app's own engine.
    """
    if hasattr(connection, "ensure_connection"):
        connection.ensure_connection()
        connection = connection.connection
    database = ConnectionDatabase(connection)  # which refuses what is none
    left = app.move(database)
    try:
        jobs = Jobs(app, worker_options=worker_options)
        if not database.is_async:
            jobs.declare()
        yield jobs
    finally:
        app.move(left)


def _check_attempt(attempt: object) -> None:
    if attempt is not None and (
        not isinstance(attempt, int) or isinstance(attempt, bool) or attempt < 1
    ):
        raise InvalidOption(
            f"attempt={short_repr(attempt)}: give its number, from 1; an argument of that name is given by "
            "task.configure(task_kwargs={'attempt': …})"
        )
