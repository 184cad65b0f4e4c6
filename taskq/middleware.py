"""Middleware: what wraps each attempt, for a task or for all that a worker runs."""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from taskq.context import JobContext
from taskq.exceptions import MiddlewareKindMismatch
from taskq.messages import short_repr

# The last parameter is a ``taskq.Worker``, whose module is above this one.
SyncTaskMiddleware = Callable[[Callable[[], Any], JobContext[Any, Any, Any], Any], Any]
AsyncTaskMiddleware = Callable[
    [Callable[[], Awaitable[Any]], JobContext[Any, Any, Any], Any], Awaitable[Any]
]

# (call_next, context, worker): calls call_next() and returns what it returns, or something else.
TaskMiddleware = SyncTaskMiddleware | AsyncTaskMiddleware

# The same, always async: it wraps attempts of sync tasks too, from the event loop.
WorkerMiddleware = AsyncTaskMiddleware

T = TypeVar("T")

# One, or several with the outermost first.
Several: TypeAlias = T | Sequence[T] | None


def several(given: "Several[T]") -> Sequence[T]:
    """What was given as one, as several or not at all, as a sequence."""
    if given is None:
        return ()
    return given if isinstance(given, Sequence) else (given,)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await: a coroutine function, or an object like one.

    What a plain decorator makes of a coroutine function is none of them: it may as well run it.
    """
    while isinstance(function, partial):
        function = function.func
    call = getattr(function, "__call__", None)  # noqa: B004 - the method, not whether there is one
    return any(map(_is_coroutine_function, (function, call)))


# Before Python 3.12 a function is marked as one for asyncio (asgiref does), afterwards for inspect.
_is_coroutine_function: Callable[[object], bool] = (
    asyncio.iscoroutinefunction if sys.version_info < (3, 12) else inspect.iscoroutinefunction
)


def check_task_middleware(middleware: TaskMiddleware, *, wraps_async: bool, of: str) -> None:
    """Refuse a middleware that cannot wrap a task.

    Raises:
        MiddlewareKindMismatch: One of the two is async and the other is not, or it cannot be called.
    """
    _check_callable(middleware, of=of)
    if is_async(middleware) != wraps_async:
        wanted, got = ("an async", "a sync") if wraps_async else ("a sync", "an async")
        raise MiddlewareKindMismatch(
            f"{of} needs {wanted} middleware, and {middleware!r} is {got} one"
        )


def check_worker_middleware(middleware: WorkerMiddleware) -> None:
    """Refuse a middleware that cannot wrap what a worker runs.

    Raises:
        MiddlewareKindMismatch: It is not async, or cannot be called.
    """
    _check_callable(middleware, of="a worker")
    if not is_async(middleware):
        raise MiddlewareKindMismatch(
            f"worker_middleware got {middleware!r}, which is sync: it wraps async and sync tasks from "
            "the event loop, so declare it with async def, or give it as task_middleware"
        )


def _check_callable(middleware: object, *, of: str) -> None:
    if not callable(middleware):
        raise MiddlewareKindMismatch(
            f"{of} got {short_repr(middleware)} as middleware, which cannot be called: give a function "
            "that takes (call_next, context, worker)"
        )
