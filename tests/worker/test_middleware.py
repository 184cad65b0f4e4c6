"""Middleware wraps attempts, and workers."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import App, JobContext, JobStatus, Worker
from taskq.exceptions import MiddlewareKindMismatch
from tests.worker.conftest import Drain


class Recorder:
    """Middleware of either kind that records what it sees."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def sync(self, name: str) -> Callable[..., Any]:
        def wrap(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:
            self.seen.append(f"{name} of {context.task.name}")
            return call_next()

        return wrap

    def asynchronous(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def wrap(
            call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
        ) -> Any:
            self.seen.append(f"{name} of {context.task.name}")
            return await call_next()

        return wrap


async def test_the_workers_wrap_the_tasks_and_each_task_gets_those_of_its_kind(
    app: App, drain: Drain
) -> None:
    recorder = Recorder()

    @app.task(name="sync", task_middleware=[recorder.sync("own"), recorder.sync("inner")])
    def sync() -> None:
        recorder.seen.append("sync")

    @app.task(name="async", task_middleware=recorder.asynchronous("own"))
    async def asynchronous() -> None:
        recorder.seen.append("async")

    for task in (sync, asynchronous):
        await task.defer_async()
    await drain(app, task_middleware=[recorder.sync("outer"), recorder.asynchronous("outer")])
    assert recorder.seen == [
        "outer of sync",
        "own of sync",
        "inner of sync",
        "sync",
        "outer of async",
        "own of async",
        "async",
    ]


async def test_what_middleware_returns_is_the_result(app: App, drain: Drain) -> None:
    async def double(
        call_next: Callable[[], Awaitable[int]], context: JobContext, worker: Worker
    ) -> int:
        return 2 * await call_next()

    @app.task(store_result=True, task_middleware=double)
    async def three() -> int:
        return 3

    job_id = await three.defer_async()
    await drain(app)
    assert three.result(await app.job_manager.get_job_async(job_id)) == 6


async def test_an_error_in_middleware_is_the_attempts(app: App, drain: Drain) -> None:
    def refuse(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:
        raise PermissionError("not this one")

    @app.task(task_middleware=refuse, retry=1)
    def work() -> None: ...

    job_id = await work.defer_async()
    await drain(app)
    attempts = await app.job_manager.list_failed_attempts_async(job_id)
    assert [attempt.error_type for attempt in attempts] == ["PermissionError"] * 2
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.FAILED


@pytest.mark.parametrize("is_async", [True, False])
def test_middleware_of_the_wrong_kind_is_refused_where_it_is_declared(is_async: bool) -> None:
    app, recorder = App("postgresql://"), Recorder()

    async def asynchronous() -> None: ...

    def sync() -> None: ...

    wrong = recorder.sync("x") if is_async else recorder.asynchronous("x")
    with pytest.raises(MiddlewareKindMismatch, match="task 'work' needs"):
        app.task(name="work", task_middleware=wrong)(asynchronous if is_async else sync)


async def test_worker_middleware_wraps_the_run_and_may_stop_the_worker(
    app: App, drain: Drain
) -> None:
    seen: list[str] = []

    def named(name: str) -> Callable[..., Awaitable[None]]:
        async def wrap(call_next: Callable[[], Awaitable[None]], worker: Worker) -> None:
            seen.append(f"{name} begins")
            worker.stop()
            await call_next()
            seen.append(f"{name} ends")

        return wrap

    # It would wait for jobs for ever.
    await drain(app, wait=True, worker_middleware=[named("outer")])
    await drain(app, worker_middleware=[named("outer"), named("inner")])
    assert seen == [
        "outer begins",
        "outer ends",
        "outer begins",
        "inner begins",
        "inner ends",
        "outer ends",
    ]


async def test_task_middleware_may_stop_the_worker_after_a_job(app: App, start: Any) -> None:
    async def last(
        call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        worker.stop()
        return await call_next()

    @app.task
    async def work() -> None: ...

    first, *others = await work.batch_defer_async({}, {}, {})
    await app.run_worker_async(task_middleware=last, install_signal_handlers=False)
    assert await app.job_manager.get_job_status_async(first) is JobStatus.SUCCEEDED
    for job_id in others:
        assert await app.job_manager.get_job_status_async(job_id) is JobStatus.TODO
