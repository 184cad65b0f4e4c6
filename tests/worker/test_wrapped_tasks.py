"""Async tasks that do not look like one: what is promised for async tasks holds for them too."""

import asyncio
import contextvars
import functools
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from taskq import App, JobStatus
from tests.worker.conftest import Drain, Finished, Start, errors_of, services_of, until

request_id = contextvars.ContextVar("request_id", default="none")


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that does not know of coroutines."""

    @functools.wraps(function)
    def wrapper(**kwargs: Any) -> Any:
        request_id.set("of the decorator")
        return function(**kwargs)

    return wrapper


def partially(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(functools.partial(function), extra=1)


def as_an_object(function: Callable[..., Any]) -> Callable[..., Any]:
    class Work:
        async def __call__(self) -> None:
            await function()

    return Work()


def partially_an_object(function: Callable[..., Any]) -> Callable[..., Any]:
    return functools.partial(as_an_object(function))


def returning_an_awaitable(function: Callable[..., Any]) -> Callable[..., Any]:
    class Later:
        def __await__(self) -> Generator[Any, None, None]:
            yield from function().__await__()

    def call() -> Awaitable[Any]:
        return Later()

    return call


def returning_from_many(function: Callable[..., Any]) -> Callable[..., Any]:
    return plain(plain(function))


WRAPPERS = [
    plain,
    partially,
    as_an_object,
    partially_an_object,
    returning_an_awaitable,
    returning_from_many,
]


@pytest.mark.parametrize("wrap", WRAPPERS)
async def test_a_wrapped_async_task_is_cancelled_when_it_is_to_abort(
    app: App, start: Start, finished: Finished, wrap: Callable[..., Any]
) -> None:
    begun = asyncio.Event()
    seen: list[str] = []

    async def work(extra: int = 0) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = app.task(name="work", retry=True)(wrap(work))
    await start(app)
    job_id = await task.defer_async()
    await begun.wait()
    assert await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    job = await finished(job_id)
    assert (job.status, job.attempt, seen) == (JobStatus.ABORTED, 1, ["cancelled"])


@pytest.mark.parametrize("wrap", WRAPPERS)
async def test_a_wrapped_async_task_has_its_timeout(
    app: App, drain: Drain, wrap: Callable[..., Any]
) -> None:
    async def work(extra: int = 0) -> None:
        await asyncio.sleep(60)

    task = app.task(name="work", timeout=0.05)(wrap(work))
    job_id = await task.defer_async()
    await drain(app)
    [(kind, _)] = await errors_of(app, job_id)
    assert kind == "taskq.exceptions.JobTimeout"


async def test_a_coroutine_of_a_function_that_was_to_abort_does_not_begin(
    app: App, start: Start, finished: Finished
) -> None:
    in_thread, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    began: list[int] = []

    async def inner() -> None:
        began.append(1)

    @app.task
    def outer() -> Awaitable[None]:
        loop.call_soon_threadsafe(in_thread.set)
        go_on.wait(15)
        return inner()

    worker = await start(app)
    job_id = await outer.defer_async()
    await in_thread.wait()
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    [attempt] = services_of(worker).executor_pool.held(worker.id).values()
    await until(lambda: attempt._abort_reason is not None)
    go_on.set()
    assert (await finished(job_id)).status is JobStatus.ABORTED
    assert began == []


async def test_a_plain_decorator_may_run_the_coroutine_itself_and_set_variables(
    app: App, drain: Drain
) -> None:
    def run(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(**kwargs: Any) -> Any:
            return asyncio.run(function(**kwargs))

        return wrapper

    seen: list[str] = []

    async def work(name: str) -> None:
        await asyncio.sleep(0)
        seen.append(f"{name}: {request_id.get()}")

    app.task(name="run")(run(work)).defer(name="run")
    app.task(name="plain")(plain(work)).defer(name="plain")
    await drain(app)
    assert sorted(seen) == ["plain: of the decorator", "run: none"]
