"""A task: a function that another process executes at a later time."""

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import timedelta
from functools import update_wrapper
from inspect import isasyncgenfunction, isgeneratorfunction
from pathlib import Path
from typing import Any, Final, Generic, Literal, ParamSpec, TypeVar, Unpack, overload

from pydantic import JsonValue

from taskq.arguments.arguments import Arguments
from taskq.arguments.result import Result
from taskq.arguments.signature import Signature
from taskq.deferrer import (
    BY_NAME,
    ByName,
    TaskArgs,
    positional,
)
from taskq.encryption import Keyring, is_encrypted
from taskq.escaping import get_logger
from taskq.exceptions import (
    InvalidArguments,
    InvalidSignature,
    UnboundTaskError,
)
from taskq.job import Job
from taskq.job_options import JobDefaults, refuse_unknown
from taskq.limits import Limit
from taskq.manager import JobManager
from taskq.messages import short_repr
from taskq.middleware import TaskMiddleware, check_task_middleware, is_async, several
from taskq.queries.job_insert import OnConflict
from taskq.results import result_of, wait_for_result, wait_for_result_async
from taskq.retry import BaseRetryStrategy, get_retry_strategy
from taskq.task_deferrer import TaskDeferrer, WaitOptions
from taskq.task_options import (
    Executor,
    TaskOptions,
    checked_aliases,
    checked_encrypted,
    checked_executor,
    checked_timeout,
    checked_transaction,
)

logger: Final = get_logger("taskq.task")

P = ParamSpec("P")
# Covariant: the coroutine types of an async def differ between type checkers.
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Task(Generic[P, R_co]):
    """A function that is executed at a later time by a worker; ``App.task`` makes it.

    Calling it runs the function here and now.

    Attributes:
        name: What its jobs call it by.
        aliases: Other names that jobs may call it by.
        queue: The queue its jobs go to.
        priority: The priority its jobs have, higher first.
        lock: The lock its jobs have.
        queueing_lock: The queueing lock its jobs have.
        limit: The limit its jobs have.
        metadata: What is noted about its jobs; None: nothing.
        tags: The tags its jobs have.
        expire_in: In how long its jobs are to begin at the latest; None: whenever.
        retry_strategy: What decides whether a failed attempt is followed by another; None: never.
        pass_context: Whether the function's first parameter is a ``JobContext``.
        transaction: Whether each attempt is one ``context.transaction()``.
        timeout: How long an attempt may take, in seconds.
        store_result: Whether the return value is kept on the job.
        task_middleware: What wraps each attempt, the outermost first.
        encrypted: Whether arguments and results are stored so that only apps with the key can read them.
        func: The function.
        is_async: Whether it runs on the event loop; otherwise where ``executor`` says.
        executor: "thread" or "process"; None: on the event loop.
    """

    def __init__(
        self,
        function: Callable[..., R_co],
        *,
        pass_context: bool = False,
        transaction: bool = False,
        **options: Unpack[TaskOptions],
    ) -> None:
        name = options.get("name")
        _check_function(function, name)
        update_wrapper(self, function)
        self.func = function
        self.name: str = name if name is not None else _dotted_path(function)
        refuse_unknown(
            options,
            TaskOptions,
            f"task {self.name!r} cannot be declared with",
            "pass_context",
            "transaction",
        )
        self._is_nowhere = name is None and self.name.startswith("__main__.")
        self.aliases: tuple[str, ...] = checked_aliases(options.get("aliases", ()), self.name)
        self.retry_strategy: BaseRetryStrategy | None = get_retry_strategy(
            options.get("retry", False)
        )
        self.pass_context = pass_context
        self.transaction: bool = checked_transaction(transaction, pass_context, self.name)
        self.timeout: float | None = checked_timeout(options.get("timeout"), self.name)
        self.store_result: bool = options.get("store_result", False)
        self.task_middleware: Sequence[TaskMiddleware] = several(options.get("task_middleware"))
        self.encrypted: bool = checked_encrypted(options.get("encrypted", False), self.name)
        self.is_async: bool = is_async(function)
        self.executor: Executor | None = checked_executor(
            options.get("executor"),
            self.name,
            is_async=self.is_async,
            transaction=self.transaction,
        )
        for middleware in self.task_middleware:
            check_task_middleware(middleware, wraps_async=self.is_async, of=f"task {self.name!r}")
        self.arguments: Arguments[P] = Arguments(
            function,
            task_name=self.name,
            skip=1 if pass_context else 0,
            conceals=self.encrypted,
        )
        self.returns: Result[Any] | None = (
            Result(function, task_name=self.name, conceals=self.encrypted)
            if self.store_result
            else None
        )
        # Set by the app that takes the task in; what a blueprint's task is without.
        self.manager: JobManager | None = None
        defaults: Any = {
            option: value
            for option, value in options.items()
            if option in JobDefaults.__annotations__
        }
        # Refuses now what no job can have.
        self._deferrer: TaskDeferrer[P, int, R_co] = TaskDeferrer(
            arguments=self.arguments,
            get_manager=self._get_manager,
            task=self,
            encrypted=self.encrypted,
        ).configure(**defaults)
        self.queue: str = self._deferrer.queue
        self.priority: int = self._deferrer.priority
        self.lock: str | None = self._deferrer.lock
        self.queueing_lock: str | None = self._deferrer.queueing_lock
        self.limit: Limit | None = self._deferrer.limit
        self.metadata: Mapping[str, JsonValue] | None = self._deferrer.metadata
        self.tags: tuple[str, ...] = tuple(self._deferrer.tags or ())
        self.expire_in: timedelta | None = self._deferrer.expire_in

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Run the function, here and now."""
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"

    def args(self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs) -> TaskArgs[P]:
        """The arguments of one job of a batch, seen by a type checker.

        Raises:
            InvalidArguments: Some were given by position.
        """
        self.arguments.refuse_positional(positional(nothing, args))
        return TaskArgs(kwargs, self.arguments)

    def defer(self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs) -> int:
        """Defer a job of this task; see ``Deferrer.defer``."""
        return self._deferrer.defer(nothing, *args, **kwargs)

    async def defer_async(
        self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs
    ) -> int:
        """The async twin of ``defer``."""
        return await self._deferrer.defer_async(nothing, *args, **kwargs)

    def batch_defer(self, *calls: Mapping[str, Any] | TaskArgs[P]) -> list[int]:
        """Defer one job per call; see ``Deferrer.batch_defer``."""
        return self._deferrer.batch_defer(*calls)

    async def batch_defer_async(self, *calls: Mapping[str, Any] | TaskArgs[P]) -> list[int]:
        """The async twin of ``batch_defer``."""
        return await self._deferrer.batch_defer_async(*calls)

    @overload
    def configure(
        self, *, on_conflict: Literal["skip"], **options: Unpack[WaitOptions]
    ) -> TaskDeferrer[P, int | None, R_co]: ...
    @overload
    def configure(
        self, *, on_conflict: Literal["raise", "replace"] = "raise", **options: Unpack[WaitOptions]
    ) -> TaskDeferrer[P, int, R_co]: ...
    def configure(
        self, *, on_conflict: OnConflict = "raise", **options: Unpack[WaitOptions]
    ) -> Any:
        """Make a deferrer for jobs that differ from the task's defaults.

        Args:
            on_conflict: What to do with a job whose queueing lock a job that waits already has:
                "raise" ``AlreadyEnqueued``, "skip" it and answer None in its place, or "replace" the one
                that waits and answer its id.
            **options: See ``WaitOptions``, and ``JobOptions`` for what a deferrer of any task takes.

        Raises:
            InvalidJob: An option no job can have; the message says which.
        """
        return self._deferrer.configure(on_conflict=on_conflict, **options)

    @property
    def signature(self) -> str:
        """What people read of its signature, without the context that it gets from the worker."""
        signature = Signature(self.func, task_name=self.name)
        return signature.text(skip=1 if self.pass_context else 0)

    def rename(self, renamed: Callable[[str], str]) -> None:
        """Change the name and the aliases, as an app does that takes in a blueprint."""
        self.name = renamed(self.name)
        self.aliases = tuple(map(renamed, self.aliases))
        self.arguments.task_name = self.name
        if self.returns is not None:
            self.returns.task_name = self.name

    @property
    def keyring(self) -> Keyring:
        """The keys of the app.

        Raises:
            UnboundTaskError: The task belongs to no app yet.
        """
        return self._get_manager().keyring

    def check_keys(self) -> None:
        """Refuse to begin with a task that is encrypted, and has no keys.

        Raises:
            EncryptionUnavailable: The app has none, or the package ``cryptography`` is missing.
            InvalidEncryptionKey: One is none.
        """
        if self.encrypted:
            self.keyring.check(f"task {self.name!r} is declared with encrypted=True")

    def stored_arguments(self, job: Job) -> Mapping[str, JsonValue]:
        """The arguments of a job as JSON carries them: decrypted, if they are encrypted.

        Raises:
            EncryptionFailed: They cannot be decrypted; the message says why.
        """
        if not is_encrypted(job.task_kwargs):
            return job.task_kwargs
        return self.keyring.decrypt_arguments(job.task_name, job.task_kwargs)

    def arguments_of(self, job: Job) -> dict[str, Any]:
        """The arguments of a job of this task, as the types that the function annotates, and decrypted.

        Args:
            job: A job, as ``JobManager.get_job`` reads it, or ``context.job``.

        Raises:
            InvalidArguments: The job is another task's, or its arguments do not fit the signature any more.
            EncryptionFailed: They cannot be decrypted; the message says why.
        """
        if job.task_name not in {self.name, *self.aliases}:
            raise InvalidArguments(
                f"job {job.id} is one of task {short_repr(job.task_name)}, and not of {self.name!r}: ask "
                "that task for its arguments"
            )
        return self.arguments.load(
            self.stored_arguments(job), conceals=is_encrypted(job.task_kwargs)
        )

    @overload
    def result(self: "Task[P, Coroutine[Any, Any, T]]", job: Job) -> T: ...
    @overload
    def result(self, job: Job) -> R_co: ...
    def result(self, job: Job) -> Any:
        """What a job of this task returned, as the type that the function annotates.

        Args:
            job: A job that succeeded, as ``JobManager.get_job`` reads it.

        Raises:
            ResultNotAvailable: The job has not ended, did not succeed, is another task's, or stored
                no result; the message says which.
            InvalidResult: The stored value does not fit the annotation any more.
            InvalidSignature: The task does not store its result.
        """
        return result_of(self, job)

    @overload
    def wait(
        self: "Task[P, Coroutine[Any, Any, T]]",
        job_id: int,
        *,
        timeout: float | timedelta | None = None,
    ) -> T: ...
    @overload
    def wait(self, job_id: int, *, timeout: float | timedelta | None = None) -> R_co: ...
    def wait(self, job_id: int, *, timeout: float | timedelta | None = None) -> Any:
        """Wait until a job of this task has ended, and read what it returned.

        Args:
            job_id: The job.
            timeout: In seconds, or a ``timedelta``; None: for ever.

        Raises:
            JobFailed: It has failed, for good; with the error of its last attempt.
            JobCancelled: It was cancelled.
            JobAborted: It was aborted.
            InvalidSignature: The task does not store its result, and does not say that it returns None.
            ResultNotAvailable: It is another task's, or stored no result.
            InvalidResult: What it stored does not fit the annotation any more.
            Exception: What ``JobManager.wait_for_job`` raises, as ``WaitTimeout`` and ``JobNotFound``.
        """
        return wait_for_result(self, self._get_manager(), job_id, timeout)

    @overload
    async def wait_async(
        self: "Task[P, Coroutine[Any, Any, T]]",
        job_id: int,
        *,
        timeout: float | timedelta | None = None,
    ) -> T: ...
    @overload
    async def wait_async(
        self, job_id: int, *, timeout: float | timedelta | None = None
    ) -> R_co: ...
    async def wait_async(self, job_id: int, *, timeout: float | timedelta | None = None) -> Any:
        """The async twin of ``wait``."""
        return await wait_for_result_async(self, self._get_manager(), job_id, timeout)

    def _get_manager(self) -> JobManager:
        if self._is_nowhere:
            self._is_nowhere = False  # said once
            logger.warning(
                "task %s is declared at a prompt, or in code that comes from no file: no other process can "
                "import it, so its jobs wait for a worker of this one; put it into a module",
                short_repr(self.name),
                extra={"action": "task_not_importable", "task_name": self.name},
            )
        if self.manager is None:
            raise UnboundTaskError(
                f"task {self.name!r} belongs to no app yet: add its blueprint with "
                "app.add_tasks_from(blueprint, namespace='…')"
            )
        return self.manager


def _check_function(function: object, name: str | None) -> None:
    if not callable(function):
        raise InvalidSignature(
            f"{short_repr(function)} is no function: write @app.task above one, and options by name, as in "
            "@app.task(name='shop.send')"
        )
    if isgeneratorfunction(function) or isasyncgenfunction(function):
        raise InvalidSignature(
            f"{short_repr(function)} is a generator, of which nothing runs when it is called: have the task "
            "do the work, and return rather than yield"
        )
    if name is None and not hasattr(function, "__qualname__"):
        raise InvalidSignature(
            f"{short_repr(function)} has no name of its own: give one, as in @app.task(name='shop.send')"
        )


def _dotted_path(function: Callable[..., object]) -> str:
    module = function.__module__
    # The second is what multiprocessing calls it in another process.
    if module in {"__main__", "__mp_main__"}:
        # As the worker that imports it will know it: it is run with -m, or is a script.
        main = getattr(function, "__globals__", None) or vars(sys.modules["__main__"])
        if spec := main.get("__spec__"):
            module = spec.name
        elif file := main.get("__file__"):
            module = Path(file).stem
    return f"{module}.{function.__qualname__}"
