"""Calls without a connection of the caller's, on those of the pool: what goes wrong with one stays there."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import create_engine, event

from taskq import App
from taskq.exceptions import DatabaseUnavailable
from taskq.manager import JobManager

SEVERAL = 3


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:
        yield app


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


def hold(connection: psycopg.Connection) -> None:
    """Keep every statement on jobs waiting, until the transaction ends."""
    connection.execute("BEGIN; LOCK TABLE taskq_jobs IN ACCESS EXCLUSIVE MODE")


def waiting(connection: psycopg.Connection) -> list[int]:
    """The sessions that wait for the lock."""
    query = (
        "SELECT pid FROM pg_locks "
        "WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    return [pid for [pid] in connection.execute(query).fetchall()]


async def until_several_wait(connection: psycopg.Connection, count: int = SEVERAL) -> list[int]:
    async with asyncio.timeout(20):
        while len(pids := waiting(connection)) < count:  # noqa: ASYNC110 - a server tells nobody
            await asyncio.sleep(0.005)
    return pids


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_lost_connection_is_told_once_whatever_else_is_in_the_pool(
    app: App, jobs: JobManager, connection: psycopg.Connection, is_async: bool
) -> None:
    hold(connection)
    with ThreadPoolExecutor(SEVERAL) as threads:
        loop = asyncio.get_running_loop()
        calls = [
            asyncio.ensure_future(
                jobs.count_jobs_async()
                if is_async
                else loop.run_in_executor(threads, jobs.count_jobs)
            )
            for _ in range(SEVERAL)
        ]
        pids = await until_several_wait(connection)
        connection.execute("COMMIT")
        assert await asyncio.gather(*calls) == [{}] * SEVERAL
    connection.execute("SELECT pg_terminate_backend(pid, 20000) FROM unnest(%s) AS pid", [pids])

    async def count() -> object:
        return await jobs.count_jobs_async() if is_async else jobs.count_jobs()

    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await count()
    for _ in range(SEVERAL):
        assert await count() == {}


async def test_a_call_that_is_cancelled_leaves_nothing_behind_in_the_pool(
    app: App, jobs: JobManager, connection: psycopg.Connection
) -> None:
    hold(connection)
    call = asyncio.create_task(jobs.count_jobs_async())
    await until_several_wait(connection, 1)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    connection.execute("COMMIT")
    for _ in range(SEVERAL):
        assert await jobs.count_jobs_async() == {}


def test_the_listeners_of_a_callers_engine_hear_each_statement(database_url: str) -> None:
    engine = create_engine(database_url)
    heard: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *call: heard.append(call[2]))
    App(engine).job_manager.count_jobs()
    engine.dispose()
    assert any("taskq_jobs" in statement for statement in heard)
