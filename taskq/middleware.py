"""Middleware: what wraps each attempt of a task, or the whole life of a worker."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from taskq.context import JobContext
from taskq.exceptions import MiddlewareKindMismatch

if TYPE_CHECKING:
    from taskq.worker import Worker

SyncTaskMiddleware = Callable[[Callable[[], Any], JobContext, "Worker"], Any]
AsyncTaskMiddleware = Callable[[Callable[[], Awaitable[Any]], JobContext, "Worker"], Awaitable[Any]]

# (call_next, context, worker): calls call_next() and returns what it returns, or something else.
TaskMiddleware = SyncTaskMiddleware | AsyncTaskMiddleware

# (call_next, worker): awaits call_next(), which returns when the worker has stopped.
WorkerMiddleware = Callable[[Callable[[], Awaitable[None]], "Worker"], Awaitable[None]]


T = TypeVar("T")

# One, or several with the outermost first.
Several: TypeAlias = T | Sequence[T] | None


def several(given: "Several[T]") -> Sequence[T]:
    """What was given as one, as several or not at all, as a sequence."""
    if given is None:
        return ()
    return given if isinstance(given, Sequence) else (given,)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await: a coroutine function, or an object like one."""
    call = getattr(function, "__call__", None)  # noqa: B004 - the method, not whether there is one
    return iscoroutinefunction(function) or iscoroutinefunction(call)


def check_task_middleware(middleware: TaskMiddleware, *, wraps_async: bool, of: str) -> None:
    """Refuse a middleware that cannot wrap a task.

    Raises:
        MiddlewareKindMismatch: One of the two is async and the other is not.
    """
    if is_async(middleware) != wraps_async:
        wanted, got = ("an async", "a sync") if wraps_async else ("a sync", "an async")
        raise MiddlewareKindMismatch(
            f"{of} needs {wanted} middleware, and {middleware!r} is {got} one"
        )
