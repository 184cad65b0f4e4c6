"""Middleware wraps attempts: those of a task, and all that a worker makes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from taskq import App, JobContext, JobStatus, Worker
from taskq.exceptions import InvalidOption, MiddlewareKindMismatch
from tests.worker.conftest import Drain, errors_of


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


@pytest.mark.parametrize("wrong", [5, "measure", ["measure"]])
def test_what_cannot_be_called_is_no_middleware(wrong: Any) -> None:
    with pytest.raises(MiddlewareKindMismatch, match=r"task 'work' got '?[5m].* cannot be called"):
        App("postgresql://").task(name="work", task_middleware=wrong)(lambda: None)
    with pytest.raises(InvalidOption, match="task_middleware="):
        App("postgresql://", worker_defaults={"task_middleware": wrong})


async def test_worker_middleware_wraps_tasks_of_either_kind_outside_of_task_middleware(
    app: App, drain: Drain
) -> None:
    recorder = Recorder()
    loops: list[asyncio.AbstractEventLoop] = []

    async def outermost(
        call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        loops.append(asyncio.get_running_loop())
        recorder.seen.append(f"begin {context.job.task_name} on {worker.options.name}")
        try:
            return await call_next()
        finally:
            recorder.seen.append("end")

    @app.task(name="sync", store_result=True, task_middleware=recorder.sync("own"))
    def sync() -> str:
        recorder.seen.append("sync")
        return "a result"

    @app.task(name="async")
    async def asynchronous() -> None:
        recorder.seen.append("async")

    job_id = await sync.defer_async()
    await asynchronous.defer_async()
    await drain(
        app,
        name="ada",
        worker_middleware=[outermost, recorder.asynchronous("second")],
        task_middleware=[recorder.sync("outer")],
    )
    assert recorder.seen == [
        "begin sync on ada",
        "second of sync",
        "outer of sync",
        "own of sync",
        "sync",
        "end",
        "begin async on ada",
        "second of async",
        "async",
        "end",
    ]
    assert set(loops) == {asyncio.get_running_loop()}
    assert sync.result(await app.job_manager.get_job_async(job_id)) == "a result"


async def test_an_error_in_worker_middleware_is_the_attempts(app: App, drain: Drain) -> None:
    async def refuse(
        call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        await call_next()
        raise PermissionError(f"attempt {context.job.attempt}")

    @app.task(retry=1)
    def work() -> None: ...

    job_id = await work.defer_async()
    await drain(app, worker_middleware=refuse)
    assert await errors_of(app, job_id) == [
        ("PermissionError", "attempt 1"),
        ("PermissionError", "attempt 2"),
    ]


async def test_sync_worker_middleware_is_refused_where_it_is_declared() -> None:
    wrong: Any = Recorder().sync("x")
    for given in (wrong, [wrong]):
        with pytest.raises(MiddlewareKindMismatch, match=r"worker_middleware got .* is sync"):
            App("postgresql://", worker_defaults={"worker_middleware": given})
        with pytest.raises(MiddlewareKindMismatch, match=r"worker_middleware got .* is sync"):
            App("postgresql://").worker(worker_middleware=given)


@pytest.mark.parametrize("kind", ["task_middleware", "worker_middleware"])
async def test_middleware_may_stop_the_worker_after_a_job(app: App, kind: str) -> None:
    async def last(
        call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        worker.stop()
        return await call_next()

    @app.task
    async def work() -> None: ...

    first, *others = await work.batch_defer_async({}, {}, {})
    options: Any = {kind: last}
    # It would wait for jobs for ever.
    async with asyncio.timeout(30):
        await app.run_worker_async(install_signal_handlers=False, **options)
    assert await app.job_manager.get_job_status_async(first) is JobStatus.SUCCEEDED
    for job_id in others:
        assert await app.job_manager.get_job_status_async(job_id) is JobStatus.TODO
