"""Runs jobs for a test: one after the other, by the statements and the code that a worker runs them by.

It claims a job, makes an attempt of it and writes its end, and goes on. Nothing runs beside: no heartbeat, no
notifications and no polling, which is what a worker cannot do on the one connection of a test.
"""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import JsonValue

from taskq import queries
from taskq.app import App
from taskq.context import AbortReason
from taskq.database.connection_database import ConnectionDatabase
from taskq.database.errors import translated
from taskq.database.executor import borrowed, reading
from taskq.job import Job, JobStatus
from taskq.outcome import Outcome
from taskq.pytest.transactions import DrivenTransactions
from taskq.queries.connection import Connection
from taskq.queries.filters import Filter
from taskq.queries.job_claim import ReadyRange
from taskq.queries.job_progress import progress_json
from taskq.task import Task
from taskq.telemetry.jobs import JOB_ENDED
from taskq.worker.attempt import Attempt
from taskq.worker.attempt_environment import AttemptEnvironment
from taskq.worker.options import WorkerArguments
from taskq.worker.outcomes import Decision, released
from taskq.worker.process_pool.pool import ProcessPool
from taskq.worker.progress_reporter import ProgressBoard

P = ParamSpec("P")
T = TypeVar("T")

# After so many attempts something is wrong with the test, such as a task that defers itself.
_MOST_ATTEMPTS = 10_000
# And so many moments at which something was due and nothing could run, as when a lock is held.
_MOST_MOMENTS = 1_000
_MOST_DUE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """An attempt that was made: how it ended, what the job is now, and what the task returned."""

    decision: Decision
    status: JobStatus | None
    returned: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """A moment that time was moved on to: by how much, and when that was by the server's clock."""

    moved: timedelta
    server_time: datetime


class Driver:
    """Runs jobs of an app, where the app is now.

    Args:
        app: The app.
        options: Options of a worker, which win over those of the app.
        thread_pool: Where sync tasks run.
    """

    def __init__(self, app: App, options: WorkerArguments, thread_pool: Executor) -> None:
        self._app = app
        # No other worker will come that knows a job.
        unknown: WorkerArguments = {"unknown_job_timeout": 0, "name": "test"}
        self._worker = app.worker(**(unknown | options))
        self._options = self._worker.options
        self._progress = ProgressBoard()
        self._processes = ProcessPool(app, self._options)
        self._processes.check()
        self._environment = AttemptEnvironment(
            app=app,
            worker=self._worker,
            options=self._options,
            thread_pool=thread_pool,
            processes=self._processes,
            task_middlewares=self._options.task_middlewares,
            worker_middlewares=self._options.worker_middlewares,
            failed_attempts=lambda job: self._run(queries.job_list.list_failed_attempts, job.id),
            transactions=DrivenTransactions(
                app,
                self._options,
                read_commit=lambda job, number: self._run(
                    queries.job_commit.read_job_commit, job, number
                ),
            ),
            progress=self._progress,
        )

    def close(self) -> None:
        """End the processes of tasks that have asked for one."""
        self._processes.close()

    async def drain(
        self, *, queues: Sequence[str] | None, until: datetime | timedelta | None, scheduled: bool
    ) -> dict[JobStatus, int]:
        """Run jobs until none is left that may begin; see ``Jobs.drain``."""
        ended: dict[int, JobStatus] = {}
        attempts = moments = 0
        moved = timedelta()
        async with self._registered(queues) as worker_id:
            began = time = await self._run(queries.session.get_server_time)
            cancelled = await self._run(_count_cancelled)
            if isinstance(until, timedelta):
                until = began + until
            elif until is None and not scheduled:
                until = began
            try:
                while True:
                    jobs = await self._run(
                        queries.job_claim.claim_from_queues, worker_id, queues, 1
                    )
                    for job in jobs:
                        attempts, moments = attempts + 1, 0
                        if attempts > _MOST_ATTEMPTS:
                            await self._finish(worker_id, [released(job, started=False)])
                            raise AssertionError(
                                f"{_MOST_ATTEMPTS:,} attempts were run and job {job.id} ({job.task_name}) is "
                                "still left: does a task defer itself, or is it retried for ever? Say how "
                                "far to go, as in jobs.drain(until=timedelta(days=1))"
                            )
                        attempted = await self.attempt(worker_id, job)
                        if attempted.status is not None:
                            ended[job.id] = attempted.status
                    if jobs:
                        continue
                    moments += 1
                    moment = await self._run(
                        _go_on, until=None if until is None else until - moved, not_before=time
                    )
                    if moment is None or moments > _MOST_MOMENTS:
                        break
                    moved += moment.moved
                    time = moment.server_time
            finally:
                # What was to be at some time is to be so again for who reads it.
                await self._run(queries.testing.move_time, -moved)
        counts: dict[JobStatus, int] = {}
        for status in ended.values():
            counts[status] = counts.get(status, 0) + 1
        # Those that have expired, or that a task has cancelled: none of them has run.
        if cancelled := await self._run(_count_cancelled) - cancelled:
            counts[JobStatus.CANCELLED] = cancelled
        return counts

    async def run_one(self, job_id: int, attempt: int | None) -> Attempted:
        """Run one attempt of a job that waits, whatever else does.

        Args:
            job_id: The job.
            attempt: The number that it is to have; None: the next one.

        Raises:
            AssertionError: It may not begin now.
        """
        async with self._registered(None) as worker_id:
            if attempt is not None:
                await self._run(queries.testing.set_attempt, job_id, attempt)
            job, others = await self._run(_claim_one, worker_id, job_id)
            # They had the lock or the limit in turn before it; nothing of them has begun.
            for other in others:
                await self._finish(worker_id, [released(other, started=False)])
            if job is None:
                explanation = await self._run(
                    queries.job_explain.explain_job, job_id, self._options.stalled_worker_timeout
                )
                raise AssertionError(f"job {job_id} cannot run now: {explanation.text}")
            return await self.attempt(worker_id, job)

    async def attempt(self, worker_id: int, job: Job) -> Attempted:
        """Make an attempt of a job that was claimed, and write its end."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Decision] = loop.create_future()
        variables = contextvars.copy_context()
        attempt = _RememberingAttempt(self._environment, job, loop.time(), variables)
        attempt.start(done.set_result, _written)
        try:
            decision = await asyncio.shield(done)
        except asyncio.CancelledError:
            attempt.abort(AbortReason.SHUTDOWN)
            raise
        progress = self._progress.take(job.id, job.claim)
        status = None
        if decision.written:
            assert decision.outcome is not None  # noqa: S101 - it is what was written
            status = decision.outcome.status
            if job.lock is not None:
                await self._run(queries.job_commit.open_locks_after_commit, worker_id, [job.lock])
        elif decision.outcome is not None:
            if progress is not None:
                decision.outcome.progress = progress_json(progress)
            status = (await self._finish(worker_id, [decision.outcome])).get(job.id)
        self._tell(attempt, decision, loop.time())
        return Attempted(decision=decision, status=status, returned=attempt.returned)

    async def declare(self) -> None:
        """Declare the limits and subscriptions of the app, as a worker does that starts."""
        if known := list(self._app.limits):
            await self._run(
                queries.limits.declare_limits,
                known,
                self._app.queue_limits,
                declared_by=self._options.name,
            )
        if declared := [subscriber.declared for subscriber in self._app.subscribers]:
            await self._run(
                queries.subscriptions.declare_subscriptions,
                declared,
                declared_by=self._options.name,
            )

    async def move_time(self, by: timedelta) -> None:
        """Make all that is stored older."""
        await self._run(queries.testing.move_time, by)

    @asynccontextmanager
    async def _registered(self, queues: Sequence[str] | None) -> AsyncIterator[int]:
        row = await self._run(queries.workers.register_worker, self._options.name, queues, 1)
        try:
            await self.declare()
            yield row.id
        finally:
            await self._run(queries.workers.unregister_worker, row.id)

    async def _finish(self, worker_id: int, outcomes: Sequence[Outcome]) -> dict[int, JobStatus]:
        return await self._run(queries.job_finish.finish_jobs, worker_id, outcomes)

    async def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in a transaction of its own, or on the one connection of the test.

        The first blocks an event loop for the time of a statement, in which nothing of taskq's runs there.
        """
        database = self._app.database
        if isinstance(database, ConnectionDatabase):
            with translated():
                return await database.run_async(operation, *args, **kwargs)
        engine = database.engine.execution_options(isolation_level="READ COMMITTED")
        with (
            translated(database),
            borrowed(engine, pooler=database.pooler) as connection,
            connection.begin(),
            reading(connection) as reader,
        ):
            return operation(reader, *args, **kwargs)

    def _tell(self, attempt: Attempt, decision: Decision, now: float) -> None:
        telemetry, kind = self._app.telemetry, JOB_ENDED[decision.ending]
        if telemetry.wants(kind):
            telemetry.emit(
                kind(
                    worker_name=self._options.name,
                    job=attempt.job,
                    outcome=decision.outcome,
                    error=decision.error,
                    seconds=now - attempt.started_at,
                )
            )


class _RememberingAttempt(Attempt):
    """An attempt that keeps what the task returned, also if that is not stored."""

    returned: Any = None

    async def _call(
        self, task: Task[..., Any], arguments: dict[str, Any], stored: Mapping[str, JsonValue]
    ) -> Any:
        self.returned = await super()._call(task, arguments, stored)
        return self.returned


def _written(outcome: Outcome, seconds: float) -> None:
    # Its decision comes right after, and says so.
    return


def _go_on(
    connection: Connection, *, until: datetime | None, not_before: datetime
) -> _Moment | None:
    """Move time to the next moment at which something is due, and make it due; None: there is none.

    To that very moment, so that nothing is due that is to be so a microsecond later, however long the jobs
    before have taken. What is over is due at the time that was reached.
    """
    next_moment = queries.testing.next_moment(connection)
    due_at = next_moment.due_at
    if due_at is None or (until is not None and due_at > until):
        return None
    moved = max(due_at, not_before) - next_moment.server_time
    queries.testing.move_time(connection, moved)
    queries.job_schedule.promote_jobs(connection, _MOST_DUE)
    return _Moment(moved=moved, server_time=next_moment.server_time)


def _count_cancelled(connection: Connection) -> int:
    wanted = Filter.of({"status": JobStatus.CANCELLED})
    return sum(count.jobs for count in queries.job_count.count_jobs(connection, wanted))


def _claim_one(connection: Connection, worker_id: int, job_id: int) -> tuple[Job | None, list[Job]]:
    """Claim one job, and what has to be claimed before it."""
    wanted = queries.job_list.get_job(connection, job_id)
    place = ReadyRange(
        wanted.queue, highest=wanted.priority, lowest=wanted.priority, after_id=job_id - 1
    )
    others: list[Job] = []
    while True:
        claimed = queries.job_claim.claim_jobs(connection, worker_id, 1, ranges=[place])
        if not claimed or claimed[0].id == job_id:
            return (claimed[0] if claimed else None), others
        others.extend(claimed)
