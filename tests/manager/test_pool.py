"""Calls without a connection of the caller's, on those of the pool: what goes wrong with one stays there."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

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


def end(connection: psycopg.Connection, pids: list[int]) -> None:
    connection.execute("SELECT pg_terminate_backend(pid, 20000) FROM unnest(%s) AS pid", [pids])


async def until_several_wait(connection: psycopg.Connection, count: int = SEVERAL) -> list[int]:
    async with asyncio.timeout(20):
        while len(pids := waiting(connection)) < count:  # noqa: ASYNC110 - a server notifies of no such thing
            await asyncio.sleep(0.005)
    return pids


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_connections_that_were_ended_while_idle_are_replaced_before_anything_is_sent(
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
    end(connection, pids)
    task = app.configure_task("noop")
    ids = {await task.defer_async() if is_async else task.defer() for _ in range(SEVERAL)}
    found = await jobs.list_jobs_async() if is_async else jobs.list_jobs()
    assert [job.id for job in found] == sorted(ids)
    assert len(ids) == SEVERAL


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_callers_engine_does_not_lend_what_was_ended_while_idle(
    database_url: str, connection: psycopg.Connection, is_async: bool
) -> None:
    engine: Engine | AsyncEngine
    engine = create_async_engine(database_url) if is_async else create_engine(database_url)
    app = App(engine)
    task = app.configure_task("noop")
    for _ in range(2):
        await task.defer_async() if is_async else task.defer()
        own = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        end(connection, [pid for [pid] in connection.execute(own).fetchall()])
    assert (
        await app.schema_manager.is_applied_async() if is_async else app.schema_manager.is_applied()
    )
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (2,)
    await engine.dispose() if isinstance(engine, AsyncEngine) else engine.dispose()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_what_may_have_been_done_is_not_sent_again(
    app: App, connection: psycopg.Connection, is_async: bool
) -> None:
    task = app.configure_task("noop")
    hold(connection)
    call = asyncio.ensure_future(task.defer_async() if is_async else asyncio.to_thread(task.defer))
    end(connection, await until_several_wait(connection, 1))
    with pytest.raises(DatabaseUnavailable, match="does not answer"):
        await call
    connection.execute("COMMIT")
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (0,)


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
