"""A function of Django's ``@task`` as a task of taskq: what its worker runs."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Final, Protocol

from django.utils import timezone

from taskq.contrib.django.tasks.options import OF_TASKS
from taskq.contrib.django.tasks.packages import TasksPackage
from taskq.contrib.django.tasks.results import error_of, result_of
from taskq.exceptions import InvalidArguments, TaskqException
from taskq.job import JobStatus
from taskq.messages import short_repr
from taskq.middleware import is_async
from taskq.task import Task
from taskq.worker import outcomes
from taskq.worker.error_text import error_traceback, error_type
from taskq.worker.options import WorkerOptions

_OPTIONS: Final = WorkerOptions()
_NAMED: Final = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
    inspect.Parameter.VAR_KEYWORD,
}


class Backend(Protocol):
    """As much of a backend as is needed here."""

    alias: str
    classes: TasksPackage


class DjangoTask:
    """A task of Django's that a worker of taskq runs, under the path of its function.

    Its arguments are what JSON carries, and reach the function as they are: Django's tasks do not read the
    types that it annotates.

    Args:
        declared: Django's task.
        backend: The backend that it is for.

    Attributes:
        task: Taskq's own task.
        declared: As given.
        names: What arguments by position are called.

    Raises:
        InvalidTask: Its function, or one of taskq's options, cannot be a task's.
    """

    def __init__(self, declared: Any, backend: Backend) -> None:
        self.declared = declared
        self._backend = backend
        self._package = backend.classes
        signature = inspect.signature(declared.func)
        parameters = list(signature.parameters.values())[1 if declared.takes_context else 0 :]
        if unnamed := [str(one) for one in parameters if one.kind not in _NAMED]:
            raise self._package.invalid_task(
                f"task {declared.module_path!r} has the parameter {unnamed[0]!r}, which can only be given by "
                "position, and taskq stores arguments by their names: make it one that has a name"
            )
        self.names: Sequence[str] = [
            one.name for one in parameters if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        run = self._async_run() if is_async(declared.func) else self._sync_run()
        context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY)
        untyped = [one.replace(annotation=inspect.Parameter.empty) for one in parameters]
        run.__signature__ = inspect.Signature([context, *untyped])  # type: ignore[attr-defined]
        options = {name: getattr(declared, name, None) for name in OF_TASKS}
        try:
            self.task: Task[..., Any] = Task(
                run,
                name=declared.module_path,
                pass_context=True,
                store_result=True,
                **{name: value for name, value in options.items() if value is not None},
            )
        except TaskqException as error:
            raise self._package.invalid_task(str(error)) from error

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call, all of them by their names.

        Raises:
            InvalidArguments: There are more by position than it takes, or one is given twice.
        """
        if len(args) > len(self.names):
            raise InvalidArguments(
                f"task {self.task.name!r} takes {len(self.names)} arguments by position, and got "
                f"{len(args)}: {short_repr(list(args))}"
            )
        given = dict(zip(self.names, args, strict=False))
        if twice := sorted(given.keys() & kwargs.keys()):
            raise InvalidArguments(
                f"task {self.task.name!r} got {twice[0]!r} by position and by name: give it once"
            )
        return given | dict(kwargs)

    def _sync_run(self) -> Callable[..., Any]:
        function = self.declared.func
        signals, sender = self._package.signals, type(self._backend)

        @wraps(function)
        def run(context: Any, /, **kwargs: Any) -> Any:
            attempt = _Attempt(self, self._backend, context)
            signals.task_started.send_robust(sender, task_result=attempt.result)
            try:
                returned = attempt.returned(function(*attempt.context, **kwargs))
            except BaseException as error:
                if attempt.is_final(error, self.task):
                    signals.task_finished.send_robust(sender, task_result=attempt.result)
                raise
            signals.task_finished.send_robust(sender, task_result=attempt.result)
            return returned

        return run

    def _async_run(self) -> Callable[..., Any]:
        function = self.declared.func
        signals, sender = self._package.signals, type(self._backend)

        @wraps(function)
        async def run(context: Any, /, **kwargs: Any) -> Any:
            attempt = _Attempt(self, self._backend, context)
            await signals.task_started.asend_robust(sender, task_result=attempt.result)
            try:
                returned = attempt.returned(await function(*attempt.context, **kwargs))
            except BaseException as error:
                if attempt.is_final(error, self.task):
                    await signals.task_finished.asend_robust(sender, task_result=attempt.result)
                raise
            await signals.task_finished.asend_robust(sender, task_result=attempt.result)
            return returned

        return run


class _Attempt:
    """One attempt, as Django's context and signals show it.

    Attributes:
        result: The result, which runs and then has ended.
        context: What comes before the arguments.
    """

    def __init__(self, of: DjangoTask, backend: Backend, context: Any) -> None:
        self._package = backend.classes
        self._context = context
        self.result = result_of(
            backend.classes,
            of.declared,
            context.job,
            context.failed_attempts,
            names=of.names,
            backend=backend.alias,
        )
        self.context: tuple[Any, ...] = ()
        if of.declared.takes_context:
            self.context = (self._package.context_class(task_result=self.result),)

    def returned(self, value: Any) -> Any:
        """Take what it returned; answers it as JSON carries it."""
        value = self._package.normalize_json(value)
        self._end("SUCCESSFUL")
        object.__setattr__(self.result, "_return_value", value)
        return value

    def is_final(self, error: BaseException, task: Task[..., Any]) -> bool:
        """Take what it raised; answers whether that was the last attempt."""
        decision = outcomes.decide(
            self._context.job,
            task,
            _OPTIONS,
            raised=error,
            abort_reason=self._context.abort_reason(),
            cancellable=task.is_async,
        )
        if decision.outcome is None or decision.outcome.status is JobStatus.TODO:
            return False
        self.result.errors.append(
            error_of(self._package, error_type(error), error_traceback(error))
        )
        self._end("FAILED")
        return True

    def _end(self, status: str) -> None:
        object.__setattr__(self.result, "status", self._package.status[status])
        object.__setattr__(self.result, "finished_at", timezone.now())
