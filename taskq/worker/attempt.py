"""An attempt: runs the task of one job, and cancels it; what becomes of the job ``outcomes`` decides."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from taskq.context import AbortReason, JobContext, JobTransaction
from taskq.current_job import current_job
from taskq.exceptions import InvalidTransaction
from taskq.job import Job
from taskq.middleware import is_async
from taskq.outcome import Ending, Outcome
from taskq.task import Task
from taskq.telemetry import JobFailedAfterCommit, JobOffered, JobStarted, JobTaken
from taskq.worker import outcomes
from taskq.worker.app import WorkerApp
from taskq.worker.attempt_environment import AttemptEnvironment
from taskq.worker.concealed import shown
from taskq.worker.outcomes import Decision
from taskq.worker.process_pool.call import process_call
from taskq.worker.transaction import AttemptTransaction

if TYPE_CHECKING:
    from taskq.worker.process_pool.process import ProcessCall


class Attempt:
    """One attempt of a job.

    Args:
        environment: What it shares with others.
        job: The job, claimed.
        claimed_at: When the claim was answered, by the clock of the event loop.
        variables: The context variables of the claim: what starts it may be the end of another job.
    """

    def __init__(
        self,
        environment: AttemptEnvironment,
        job: Job,
        claimed_at: float,
        variables: contextvars.Context,
    ) -> None:
        self.job = job
        self._claimed_at = claimed_at
        self.started_at: float = claimed_at
        self._environment = environment
        # None: the app has none of that name.
        self._task: Task[..., Any] | None = environment.app.tasks.get(job.task_name)
        self._done: Callable[[Decision], None] | None = None
        self._committed: Callable[[Outcome, float], None] | None = None
        self._transaction: AttemptTransaction | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_awaiting = False
        self._process_call: ProcessCall | None = None
        self._abort_reason: AbortReason | None = None
        # No set, and below no context of its own before it starts: the garbage collector goes through
        # all that is claimed again and again, and took a tenth of a worker's time.
        self._asked: tuple[AbortReason, ...] = ()
        self._began = False
        self._variables = variables

    def start(
        self, done: Callable[[Decision], None], committed: Callable[[Outcome, float], None]
    ) -> None:
        """Start it, in a task and a context of its own.

        Args:
            done: Called once with what becomes of the job.
            committed: Called before, once or not at all, with what the attempt's own transaction wrote of
                that, and the seconds that it took.
        """
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self._variables = self._variables.copy()
        telemetry = self._environment.app.telemetry
        if telemetry.wants(JobStarted):
            started = JobStarted(
                worker_name=self._environment.options.name,
                job=self.job,
                prefetched_for=self.started_at - self._claimed_at,
            )
            self._variables.run(telemetry.emit, started)
        self._done = done
        self._committed = committed
        self._running = loop.create_task(self._run_and_tell(), context=self._variables)
        self._running.add_done_callback(self._make_sure)

    def abort(self, reason: AbortReason) -> None:
        """Ask it to abort: an async task is cancelled, a sync one can see it, and a process is ended.

        The first reason counts. A task that lived on after it is cancelled again for another one: it
        must not keep its worker from stopping.
        """
        if reason in self._asked:
            return
        self._asked = (*self._asked, reason)
        self._abort_reason = self._abort_reason or reason
        # Cancelled before its first step it would never get to say what became of the job.
        if self._began and self._running is not None and self._can_be_cancelled:
            self._running.cancel()
        if self._process_call is not None:
            self._process_call.abort(reason)

    @property
    def _can_be_cancelled(self) -> bool:
        # A sync function may have given its thread back, and a coroutine to the loop.
        return self._is_awaiting or (self._task is not None and self._task.is_async)

    @property
    def is_ending(self) -> bool:
        """Whether its own transaction has written the end of the job, or is about to."""
        return self._transaction is not None and self._transaction.job_commit.is_ending

    def is_in(self, task: "asyncio.Task[object] | None") -> bool:
        """Whether it is made in a task of the event loop."""
        return task is not None and task is self._running

    async def _run_and_tell(self) -> None:
        # From here on it is told from within: the next job need not wait for another round of the event
        # loop, and the loop need not make one for each job.
        if self._running is not None:
            self._running.remove_done_callback(self._make_sure)
        try:
            decision = await self._run()
        except asyncio.CancelledError:
            # From outside, as asyncio.run does at its end.
            self._tell(self.release())
            raise
        except BaseException as error:
            if _is_torn_down(error):
                raise
            # Nothing that a task does gets here; if something of ours does, the job must not hang. Nor
            # is it raised: KeyboardInterrupt and SystemExit would end the event loop.
            decision = outcomes.failed(self.job, self._task, self._environment.options, error)
        self._tell(decision)

    def _make_sure(self, _: asyncio.Task[None]) -> None:
        # Cancelled before its first step.
        self._tell(self.release())

    def release(self) -> Decision:
        """What becomes of the job if its worker leaves while it runs: it goes back into the queue."""
        return self._decided() or Decision(
            Ending.RELEASED, outcomes.released(self.job, started=True)
        )

    def _tell(self, decision: Decision) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(decision)

    async def _run(self) -> Decision:
        job, task, options = self.job, self._task, self._environment.options
        if task is None:
            return self._not_begun(self._environment.app.not_found(job.task_name))
        stored = None
        try:
            stored = task.stored_arguments(job)
            arguments = task.arguments.load(stored, conceals=stored is not job.task_kwargs)
        except BaseException as error:  # a validator may raise anything
            return self._not_begun(error, stored)
        timer = None
        if task.timeout is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(task.timeout, self.abort, AbortReason.TIMEOUT)
        try:
            self._began = True
            current_job.set(job)
            if self._abort_reason is not None:
                raise asyncio.CancelledError
            result = await self._call(task, arguments, stored)
        except BaseException as error:
            # KeyboardInterrupt as well: who presses Ctrl-C is heard by the worker's signal handler.
            if _is_torn_down(error):
                raise
            return self._decided(error) or outcomes.decide(
                job,
                task,
                options,
                raised=error,
                abort_reason=self._abort_reason,
                cancellable=self._can_be_cancelled or task.executor == "process",
            )
        finally:
            if timer is not None:
                timer.cancel()
        return self._decided() or outcomes.decide(job, task, options, returned=result)

    def _decided(self, raised: BaseException | None = None) -> Decision | None:
        """What the attempt's transaction has made of the job already."""
        if (
            self._transaction is None
            or (decision := self._transaction.job_commit.decide(raised)) is None
        ):
            return None
        telemetry = self._environment.app.telemetry
        if decision.written and raised is not None:
            telemetry.emit(
                JobFailedAfterCommit(
                    worker_name=self._environment.options.name,
                    job=self.job,
                    error=shown(self.job, self._task, raised),
                )
            )
        if decision.ending is Ending.LOST and self._abort_reason is not AbortReason.LOST:
            telemetry.emit(JobTaken(job=self.job))
        return decision

    def _not_begun(
        self, error: BaseException, stored: Mapping[str, JsonValue] | None = None
    ) -> Decision:
        job, options = self.job, self._environment.options
        decision = outcomes.not_begun(job, self._task, options, error, stored=stored)
        if decision.ending is Ending.UNKNOWN and not job.given_back:
            self._environment.app.telemetry.emit(
                JobOffered(
                    worker_name=options.name,
                    job=job,
                    error=error,
                    timeout=options.unknown_job_timeout,
                )
            )
        return decision

    async def _call(
        self,
        task: Task[..., Any],
        arguments: dict[str, Any],
        stored: Mapping[str, JsonValue],
    ) -> Any:
        environment = self._environment
        middlewares = [m for m in environment.task_middlewares if is_async(m) == task.is_async]
        middlewares.extend(task.task_middleware)
        context = None
        if task.pass_context or middlewares or environment.worker_middlewares:
            context = await self._context(task)
        passed = context if task.pass_context else None
        call: Callable[[], Any]
        if task.executor == "process":
            call = self._in_process(task, stored, passed)
        else:
            call = partial(task.func, *([] if passed is None else [passed]), **arguments)
        if context is None:
            return await (call() if task.is_async else self._in_thread(call))
        for middleware in reversed(middlewares):
            call = partial(middleware, call, context, environment.worker)
        if task.transaction:
            transaction = self._begin_transaction(task)
            call = partial(_within_async if task.is_async else _within, transaction, call)
        if not task.is_async:
            call = partial(self._in_thread, call)
        for middleware in reversed(environment.worker_middlewares):
            call = partial(middleware, call, context, environment.worker)
        return await call()

    def _in_process(
        self,
        task: Task[..., Any],
        stored: Mapping[str, JsonValue],
        context: JobContext[WorkerApp, Task[..., Any], Any] | None,
    ) -> Callable[[], Any]:
        """What runs the task in a process, and middleware around that in the thread of the job."""
        environment = self._environment
        self._process_call = called = process_call(
            self.job,
            task,
            stored,
            context,
            report=partial(environment.progress.report, self.job),
            loop=asyncio.get_running_loop(),
        )
        if self._abort_reason is not None:
            called.abort(self._abort_reason)
        return partial(environment.processes.run, called)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        def run() -> Any:
            try:
                return call()
            except StopIteration as error:
                # A future cannot carry it.
                raise RuntimeError("the task raised StopIteration") from error

        context = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(
            self._environment.thread_pool, context.run, run
        )
        return await self._on_the_loop(result, context) if isawaitable(result) else result

    async def _on_the_loop(self, awaitable: Awaitable[Any], context: contextvars.Context) -> Any:
        # Of a sync function, such as an async one under a plain decorator: which could as well have run
        # it (by asyncio.run), so that it is called in a thread. From here on it is like any async task.
        self._is_awaiting = True
        if self._abort_reason is not None:
            if iscoroutine(awaitable):
                awaitable.close()
            raise asyncio.CancelledError
        for variable, value in context.items():
            variable.set(value)
        return await awaitable

    async def _context(self, task: Task[..., Any]) -> JobContext[WorkerApp, Task[..., Any], Any]:
        options = self._environment.options
        # Of a first attempt it is known, without a query.
        earlier = await self._environment.failed_attempts(self.job) if self.job.claim > 1 else ()
        return JobContext(
            app=self._environment.app,
            job=self.job,
            task=task,
            worker_name=options.name,
            worker_queues=options.queues,
            start_timestamp=time.time(),
            failed_attempts=earlier,
            additional_context=options.additional_context or {},
            abort_reason=lambda: self._abort_reason,
            transaction=partial(self._new_transaction, task),
            get_connection=self._connection,
            report=partial(self._environment.progress.report, self.job),
        )

    def _new_transaction(self, task: Task[..., Any]) -> JobTransaction:
        shown = f"job {self.job.id} ({task.name})"
        if task.transaction:
            raise InvalidTransaction(
                f"{shown} is in its transaction from the beginning, as its task is declared with "
                "transaction=True: use context.connection, with savepoints (connection.begin_nested()) for "
                "what may fail in it"
            )
        if task.store_result:
            raise InvalidTransaction(
                f"{shown} would end without its result, which is not known before the function returns: "
                "declare the task with transaction=True beside store_result=True, and use context.connection"
            )
        if self._transaction is not None:
            raise InvalidTransaction(
                f"{shown} has had its transaction, and has succeeded with that if it was committed: do all "
                "in one block, with savepoints (connection.begin_nested()) for what may fail in it, or raise "
                "Retry to begin again"
            )
        return self._begin_transaction(task)

    def _begin_transaction(self, task: Task[..., Any]) -> AttemptTransaction:
        running, committed = self._running, self._committed
        assert running is not None and committed is not None  # noqa: S101, PT018 - it runs
        self._transaction = AttemptTransaction(
            self._environment.transactions,
            self.job,
            task,
            loop=running.get_loop(),
            abort_reason=lambda: self._abort_reason,
            reported=partial(self._environment.progress.last, self.job.id, self.job.claim),
            committed=committed,
        )
        return self._transaction

    def _connection(self) -> Any:
        transaction = self._transaction
        if transaction is None or not transaction.job_commit.is_open:
            raise InvalidTransaction(
                f"job {self.job.id} ({self.job.task_name}) is in no transaction: declare its task with "
                "transaction=True, or use what `with context.transaction() as connection` gives"
            )
        return transaction.connection


def _within(transaction: AttemptTransaction, call: Callable[[], Any]) -> Any:
    with transaction:
        returned = call()
        if isawaitable(returned):
            if iscoroutine(returned):
                returned.close()
            raise InvalidTransaction(
                "a task with transaction=True returned what is still to be awaited, after its transaction: "
                "declare it with async def, without a plain decorator around it"
            )
        transaction.job_commit.returned(returned)
    return returned


async def _within_async(transaction: AttemptTransaction, call: Callable[[], Awaitable[Any]]) -> Any:
    async with transaction:
        returned = await call()
        transaction.job_commit.returned(returned)
    return returned


def _is_torn_down(error: BaseException) -> bool:
    # What a coroutine gets that is closed when its event loop is gone: it may only end.
    return isinstance(error, GeneratorExit) and asyncio._get_running_loop() is None
