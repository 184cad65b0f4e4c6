"""A worker that ends by itself: after so many jobs, or after some time."""

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest

from taskq import App
from taskq.job import JobStatus
from tests.worker.conftest import Drain, MakeApp, Start, statuses, until


async def ended(app: App, **options: Any) -> None:
    """Run a worker that is to end by itself."""
    async with asyncio.timeout(30):
        await app.run_worker_async(**{"install_signal_handlers": False} | options)


def claims(connection: psycopg.Connection) -> int:
    """How often jobs were claimed."""
    row = connection.execute("SELECT sum(claim) FROM taskq_jobs").fetchone()
    assert row
    return int(row[0])


@pytest.mark.parametrize("lock", [None, "one"], ids=["plain", "one lock"])
@pytest.mark.parametrize(("concurrency", "max_jobs"), [(1, 1), (3, 7), (20, 7), (10, 150)])
async def test_it_claims_and_runs_exactly_so_many_jobs(
    app: App, connection: psycopg.Connection, concurrency: int, max_jobs: int, lock: str | None
) -> None:
    @app.task(lock=lock)
    async def noop() -> None: ...

    await noop.batch_defer_async(*({} for _ in range(300)))
    await ended(app, concurrency=concurrency, max_jobs=max_jobs)
    assert await statuses(app) == {
        JobStatus.SUCCEEDED: max_jobs,
        JobStatus.TODO: 300 - max_jobs,
    }
    assert claims(connection) == max_jobs


async def test_workers_side_by_side_run_so_many_each(
    make_app: MakeApp, connection: psycopg.Connection
) -> None:
    ran: Counter[str] = Counter()
    apps = [make_app(), make_app(), make_app()]
    for app in apps:

        @app.task(name="count", pass_context=True)
        async def count(context: Any) -> None:
            ran[context.worker_name] += 1
            await asyncio.sleep(0)

    await apps[0].tasks["count"].batch_defer_async(*({} for _ in range(100)))
    async with asyncio.TaskGroup() as group:
        for number, app in enumerate(apps):
            group.create_task(ended(app, concurrency=4, max_jobs=11, name=f"w{number}"))
    assert ran == {"w0": 11, "w1": 11, "w2": 11}
    assert claims(connection) == 33


async def test_an_attempt_that_is_retried_counts_and_what_is_given_back_does_not(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    go = asyncio.Event()
    ran: list[str] = []

    @app.task(name="first", retry=1)
    async def first() -> None:
        ran.append("first")
        await go.wait()
        if len(ran) == 1:
            raise ValueError

    @app.task(name="second")
    async def second() -> None:
        ran.append("second")

    await first.defer_async()
    await second.configure(queue="paused").defer_async()
    worker = await start(app, max_jobs=2, prefetch=5)
    # The second one is claimed with the first, and goes back when its queue is paused.
    await until(lambda: claims(connection) == 2, "both claims")
    await app.job_manager.pause_queue_async("paused")
    await until(
        lambda: (
            connection.execute("SELECT FROM taskq_jobs WHERE status = 'todo'").fetchone()
            is not None
        ),
        "the one that goes back",
    )
    go.set()
    await until(lambda: ran == ["first", "first"], "the retry")
    await until(worker._stopping.is_set, "the end")
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1, JobStatus.TODO: 1}


async def test_without_waiting_it_ends_when_no_job_is_left_or_so_many_have_run(
    app: App, drain: Drain
) -> None:
    @app.task
    async def noop() -> None: ...

    await noop.batch_defer_async(*({} for _ in range(5)))
    await drain(app, max_jobs=3)
    assert await statuses(app) == {JobStatus.SUCCEEDED: 3, JobStatus.TODO: 2}
    await drain(app, max_jobs=3)
    assert await statuses(app) == {JobStatus.SUCCEEDED: 5}


async def test_after_so_long_it_lets_what_runs_finish_and_begins_nothing_more(
    app: App, connection: psycopg.Connection
) -> None:
    stopping = asyncio.Event()

    @app.task
    async def long() -> None:
        await stopping.wait()

    await long.batch_defer_async({}, {})
    worker = app.worker(max_seconds=0.2, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await until(worker._stopping.is_set, "the end of its time")
    assert not running.done()
    stopping.set()
    async with asyncio.timeout(15):
        await running
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1, JobStatus.TODO: 1}


async def test_asked_to_stop_while_it_stops_by_itself_it_still_lets_jobs_finish(app: App) -> None:
    """The first signal is the first, as when Kubernetes takes down what is about to end."""
    go = asyncio.Event()

    @app.task
    async def long() -> None:
        await go.wait()

    await long.defer_async()
    worker = app.worker(max_seconds=0.1, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await until(worker._stopping.is_set, "the end of its time")
    worker.stop()
    await asyncio.sleep(0)
    go.set()
    async with asyncio.timeout(15):
        await running
    assert not worker.has_left
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1}
