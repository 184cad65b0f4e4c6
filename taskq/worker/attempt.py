"""An attempt: what a slot does with one job, from its arguments to its outcome."""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from inspect import isawaitable, iscoroutine
from typing import TYPE_CHECKING, Any, Final

from taskq.context import AbortReason, JobContext
from taskq.escaping import get_logger
from taskq.exceptions import (
    InvalidArguments,
    InvalidRetryStrategy,
    JobAborted,
    JobTimeout,
    Retry,
    Snooze,
    TaskNotFound,
)
from taskq.groups import leaves_of, meaning_of
from taskq.job import Job, JobStatus
from taskq.messages import short_repr
from taskq.middleware import TaskMiddleware, WorkerMiddleware, is_async
from taskq.outcome import Outcome
from taskq.retry import RetryDecision
from taskq.task import Task
from taskq.worker.error_text import error_message, error_traceback, error_type, in_a_line
from taskq.worker.unknown_jobs import outcome_of_unknown

if TYPE_CHECKING:
    from taskq.worker.worker import Worker

logger: Final = get_logger("taskq.worker.attempt")


class Attempt:
    """One attempt of a job.

    Args:
        worker: The worker that makes it.
        job: The job, claimed.
        task: Its task; None: the app has none of that name.
        executor: Where a sync task runs.
        task_middlewares: What the worker wraps around tasks of their kind, the outermost first.
        worker_middlewares: What it wraps around all of them, outside of that; async.
    """

    def __init__(
        self,
        worker: "Worker",
        job: Job,
        task: Task[..., Any] | None,
        *,
        executor: Executor,
        task_middlewares: Sequence[TaskMiddleware],
        worker_middlewares: Sequence[WorkerMiddleware],
    ) -> None:
        self.job = job
        self._worker = worker
        self._task = task
        self._executor = executor
        self._task_middlewares = task_middlewares
        self._worker_middlewares = worker_middlewares
        self._done: Callable[[Outcome | None], None] | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_awaiting = False
        self._abort_reason: AbortReason | None = None
        self._asked: set[AbortReason] = set()
        self._began = False
        # That of whoever claims. What starts it may be the end of another job, in that one's own.
        self._variables = contextvars.copy_context()

    def start(self, done: Callable[[Outcome | None], None]) -> None:
        """Start it, in a task and a context of its own.

        Args:
            done: Called once with the outcome, or None if the job is not this worker's any more.
        """
        self._done = done
        self._running = asyncio.get_running_loop().create_task(
            self._run_and_tell(), context=self._variables
        )
        self._running.add_done_callback(self._make_sure)

    def abort(self, reason: AbortReason) -> None:
        """Ask it to abort: an async task is cancelled, a sync one can see it.

        The first reason counts. A task that lived on after it is cancelled again for another one: it
        must not keep its worker from stopping.
        """
        if reason in self._asked:
            return
        self._asked.add(reason)
        self._abort_reason = self._abort_reason or reason
        # Cancelled before its first step it would never get to say what became of the job.
        if self._began and self._running is not None and self._can_be_cancelled:
            self._running.cancel()

    @property
    def _can_be_cancelled(self) -> bool:
        # A sync function may have given its thread back, and a coroutine to the loop.
        return self._is_awaiting or (self._task is not None and self._task.is_async)

    def is_in(self, task: "asyncio.Task[object] | None") -> bool:
        """Whether it is made in a task of the event loop."""
        return task is not None and task is self._running

    async def _run_and_tell(self) -> None:
        # From here on it is told from within: the next job need not wait for another round of the event
        # loop, and the loop need not make one for each job.
        if self._running is not None:
            self._running.remove_done_callback(self._make_sure)
        try:
            outcome = await self._run()
        except asyncio.CancelledError:
            # From outside, as asyncio.run does at its end.
            self._tell(self.release(started=True))
            raise
        except BaseException as error:
            if _is_torn_down(error):
                raise
            # Nothing that a task does gets here; if something of ours does, the job must not hang. Nor
            # is it raised: KeyboardInterrupt and SystemExit would end the event loop.
            outcome = self.fail(error)
        self._tell(outcome)

    def _make_sure(self, _: asyncio.Task[None]) -> None:
        # Cancelled before its first step.
        self._tell(self.release(started=True))

    def _tell(self, outcome: Outcome | None) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(outcome)

    async def _run(self) -> Outcome | None:
        if self._task is None:
            return self._unknown(self._worker.app.not_found(self.job.task_name))
        try:
            arguments = self._task.arguments.load(self.job.task_kwargs)
        except BaseException as error:  # a validator may raise anything
            if isinstance(error, InvalidArguments) and not self._task.arguments.has_names_of(
                self.job.task_kwargs
            ):
                return self._unknown(error)
            return self.fail(error)
        timer = None
        if self._task.timeout is not None:
            loop = asyncio.get_running_loop()
            timer = loop.call_later(self._task.timeout, self.abort, AbortReason.TIMEOUT)
        try:
            self._began = True
            if self._abort_reason is not None:
                return self._aborted()
            result = await self._call(self._task, arguments)
        except BaseException as error:
            # KeyboardInterrupt as well: who presses Ctrl-C is heard by the worker's signal handler.
            if _is_torn_down(error):
                raise
            return self._raised(meaning_of(error))
        finally:
            if timer is not None:
                timer.cancel()
        return self._succeeded(self._task, result)

    async def _call(self, task: Task[..., Any], arguments: dict[str, Any]) -> Any:
        middlewares = [m for m in self._task_middlewares if is_async(m) == task.is_async]
        middlewares.extend(task.task_middleware)
        call: Callable[[], Any] = partial(task.func, **arguments)
        if not (task.pass_context or middlewares or self._worker_middlewares):
            return await (call() if task.is_async else self._in_thread(call))
        context = await self._context(task)
        if task.pass_context:
            call = partial(task.func, context, **arguments)
        for middleware in reversed(middlewares):
            call = partial(middleware, call, context, self._worker)
        if not task.is_async:
            call = partial(self._in_thread, call)
        for middleware in reversed(self._worker_middlewares):
            call = partial(middleware, call, context, self._worker)
        return await call()

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        def run() -> Any:
            try:
                return call()
            except StopIteration as error:
                # A future cannot carry it.
                raise RuntimeError("the task raised StopIteration") from error

        context = contextvars.copy_context()
        result = await asyncio.get_running_loop().run_in_executor(self._executor, context.run, run)
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

    async def _context(self, task: Task[..., Any]) -> JobContext:
        options = self._worker.options
        # Of a first attempt it is known, and nobody else asks.
        earlier = await self._worker.failed_attempts(self.job) if self.job.claim > 1 else ()
        return JobContext(
            app=self._worker.app,
            job=self.job,
            task=task,
            worker_name=options.name,
            worker_queues=options.queues,
            start_timestamp=time.time(),
            failed_attempts=earlier,
            additional_context=options.additional_context or {},
            abort_reason=lambda: self._abort_reason,
        )

    # How it ended

    def _succeeded(self, task: Task[..., Any], result: Any) -> Outcome:
        if task.returns is None:
            return self.outcome(JobStatus.SUCCEEDED)
        try:
            return self.outcome(JobStatus.SUCCEEDED, result=task.returns.dump(result))
        except BaseException as error:  # a serializer may raise anything
            # It would not fit the next time either, and the work is done.
            return self.fail(error)

    def _raised(self, error: BaseException) -> Outcome | None:
        match error:
            # Without a reason it is not by this worker: the task cancelled itself, or what it waited for
            # was cancelled.
            case asyncio.CancelledError() if self._abort_reason is not None:
                return self._aborted()
            case JobAborted():
                return self._aborted(error)
        if self._abort_reason in {
            AbortReason.USER_REQUEST,
            AbortReason.LOST,
            AbortReason.OVERDUE,
        }:
            # However a task takes its cancellation: it was not to be run again.
            return self._aborted(error)
        match error:
            case Snooze():
                wait = error.wait.total_seconds()
                return self.outcome(JobStatus.TODO, retry_in=wait, uncounted=True)
            case Retry():
                return self._again(error, RetryDecision(retry_at=error.at, retry_in=error.wait))
        if self._abort_reason is AbortReason.TIMEOUT and self._can_be_cancelled:
            # What its cancellation became on the way out.
            return self._aborted(error)
        # Among errors it decides nothing but that the job is not run again.
        gives_up = any(isinstance(leaf, JobAborted) for leaf in leaves_of(error))
        return self._failed(error, retry=not gives_up)

    def _failed(self, error: BaseException, *, retry: bool) -> Outcome:
        decision = None
        if retry:
            error, decision = self._decision(error)
        if decision is None:
            logger.error(
                "job %s (%s) failed: %s",
                self.job.id,
                self.job.task_name,
                in_a_line(error),
                extra=self.log_facts("job_failed"),
                exc_info=error,
            )
            return self.outcome(JobStatus.FAILED, error=error)
        return self._again(error, decision)

    def _decision(self, error: BaseException) -> tuple[BaseException, RetryDecision | None]:
        if self._task is None or self._task.retry_strategy is None:
            return error, None
        try:
            decision: object = self._task.retry_strategy.get_retry_decision(
                exception=error, job=self.job
            )
            if decision is not None and not isinstance(decision, RetryDecision):
                raise InvalidRetryStrategy(
                    f"{type(self._task.retry_strategy).__name__} decided {short_repr(decision)}: return a "
                    "RetryDecision or None"
                )
            return error, decision
        except BaseException as own:
            # Somebody's strategy fails: that is what has to be mended first.
            own.__context__ = error
            return own, None

    def _again(self, error: BaseException, decision: RetryDecision) -> Outcome:
        logger.warning(
            "job %s (%s) will be run again: %s",
            self.job.id,
            self.job.task_name,
            in_a_line(error),
            extra=self.log_facts("job_retried"),
        )
        return self.outcome(
            JobStatus.TODO,
            error=error,
            retry_at=decision.retry_at,
            retry_in=None if decision.wait is None else decision.wait.total_seconds(),
            priority=decision.priority,
            queue_name=decision.queue,
            lock=decision.lock,
        )

    def _aborted(self, error: BaseException | None = None) -> Outcome | None:
        match self._abort_reason:
            case AbortReason.LOST:
                return None
            case AbortReason.OVERDUE:
                logger.warning(
                    "job %s (%s) goes back into the queue: its worker was taken for dead, or is about to be",
                    self.job.id,
                    self.job.task_name,
                    extra=self.log_facts("job_given_back"),
                )
                return self.outcome(JobStatus.TODO, uncounted=True)
            case AbortReason.TIMEOUT:
                limit = self._task.timeout if self._task is not None else None
                timeout = JobTimeout(
                    f"job {self.job.id} ({self.job.task_name}) ran longer than the {limit} s "
                    "that it may take"
                )
                timeout.__cause__ = error
                return self._failed(timeout, retry=True)
            case AbortReason.SHUTDOWN:
                error = error or JobAborted(f"job {self.job.id} was aborted: its worker stopped")
                _, decision = self._decision(error)
                if decision is not None:
                    return self._again(error, decision)
        logger.info(
            "job %s (%s) aborted",
            self.job.id,
            self.job.task_name,
            extra=self.log_facts("job_aborted"),
        )
        return self.outcome(
            JobStatus.ABORTED,
            error=error or JobAborted(f"job {self.job.id} was aborted: somebody asked for it"),
        )

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a job that fails for good, whatever its retry strategy says."""
        return self._failed(error, retry=False)

    def _unknown(self, error: TaskNotFound | InvalidArguments) -> Outcome:
        return outcome_of_unknown(self, error, timeout=self._worker.options.unknown_job_timeout)

    def release(self, *, started: bool) -> Outcome:
        """The outcome of a job that goes back into the queue as it came."""
        if started:
            return self.outcome(JobStatus.TODO)
        given_back = self.job.given_back or None
        return self.outcome(JobStatus.TODO, uncounted=True, given_back=given_back)

    def outcome(
        self, status: JobStatus, *, error: BaseException | None = None, **values: Any
    ) -> Outcome:
        """An outcome of this attempt.

        Args:
            status: What the job is from now on.
            error: Why the attempt failed, if it did.
            **values: What else ``Outcome`` has.
        """
        if error is not None:
            values |= {
                "error_type": error_type(error),
                "error_message": error_message(error),
                "error_traceback": error_traceback(error),
            }
        return Outcome(
            job_id=self.job.id,
            attempt=self.job.claim,
            worker_id=self.job.worker_id,
            status=status,
            held_lock=self.job.lock,
            deleted=self._deleted(status),
            **values,
        )

    def _deleted(self, status: JobStatus) -> bool | None:
        which = self._worker.options.delete_jobs
        if which == "never" or status is JobStatus.TODO:
            return None
        return True if which == "always" or status is JobStatus.SUCCEEDED else None

    def log_facts(self, action: str) -> dict[str, Any]:
        """The attributes of a log record about this attempt."""
        return {
            "action": action,
            "job_id": self.job.id,
            "task_name": self.job.task_name,
            "queue": self.job.queue,
            "attempt": self.job.attempt,
            "worker_name": self._worker.options.name,
        }


def _is_torn_down(error: BaseException) -> bool:
    # What a coroutine gets that is closed when its event loop is gone: it may only end.
    return isinstance(error, GeneratorExit) and asyncio._get_running_loop() is None
