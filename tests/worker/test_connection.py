"""A worker's connections: they take no caller's place, and need not be waited for."""

import asyncio
import gc
import socket
import time
from contextlib import closing
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from taskq import App
from taskq.database.connection import DedicatedConnection
from taskq.database.notifications import Missed, Notification
from taskq.job import JobStatus
from tests.worker.conftest import (
    Disturbed,
    Finished,
    Line,
    MakeApp,
    Start,
    idle,
    statuses,
    until,
)


@pytest.mark.case(8)
async def test_a_heartbeat_whose_line_is_dead_takes_another_one_in_time(
    far_app: App,
    line: Line,
    start: Start,
    connection: psycopg.Connection,
    actions: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Case 8, where nothing answers, not even that it cancels the statement."""
    worker = await start(
        far_app,
        fetch_job_polling_interval=60,
        abort_job_polling_interval=60,
        update_heartbeat_interval=0.5,
        stalled_worker_timeout=5,
    )

    def age() -> float:
        row = connection.execute(
            "SELECT extract(epoch FROM clock_timestamp() - last_heartbeat)::float "
            "FROM taskq_workers WHERE id = %s",
            [worker.id],
        ).fetchone()
        assert row
        return float(row[0])

    await idle(worker)
    await until(lambda: age() < 0.4, "a heartbeat")
    line.die()
    await until(lambda: age() > 1.5, "a heartbeat that is missing")
    await until(lambda: age() < 0.4, "another heartbeat", seconds=5)

    def logged() -> list[str]:
        return [
            vars(record)["action"]
            for record in caplog.records
            if vars(record).get("purpose") == "heartbeat"
        ]

    # The heartbeat is written before the worker knows that it is.
    await until(lambda: len(logged()) == 2, "the record of its end")
    assert logged() == ["database_failed", "database_recovered"]
    assert ("WARNING", "heartbeat_overdue") not in actions()


@pytest.mark.slow
async def test_a_worker_leaves_though_every_line_is_dead(
    far_app: App, line: Line, app: App, start: Start, connection: psycopg.Connection
) -> None:
    begun = asyncio.Event()

    @far_app.task
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(600)

    await sleep.defer_async()
    worker = far_app.worker(install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(15):
        await begun.wait()
    line.die(also_new=True)
    worker.stop()
    worker.stop()
    # It tries for 3 s to give its job back, and for 3 s to unregister.
    async with asyncio.timeout(10):
        await running
    assert await statuses(app) == {JobStatus.DOING: 1}, "for another worker to rescue"


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
async def test_a_server_that_went_without_a_word_is_missed_soon(far_app: App) -> None:
    """What the kernel is told; it would wait for a quarter of an hour, or for two hours."""
    async with far_app.database.async_engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection
        with socket.socket(fileno=raw.driver_connection.fileno()) as near:
            told = {
                name: near.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"))
                for name in ("KEEPIDLE", "KEEPINTVL", "KEEPCNT", "USER_TIMEOUT")
            }
            near.detach()
    assert told["KEEPIDLE"] + told["KEEPINTVL"] * told["KEEPCNT"] <= 30
    assert 0 < told["USER_TIMEOUT"] <= 30_000


async def test_a_worker_leaves_the_pool_to_its_tasks(
    database_url: str, connection: psycopg.Connection, start: Start
) -> None:
    engine = create_async_engine(database_url, pool_size=1, max_overflow=0, pool_timeout=2)
    app = App(engine)
    ran = asyncio.Event()

    @app.task(name="parent")
    async def parent() -> None:
        await app.tasks["child"].defer_async()

    @app.task(name="child")
    async def child() -> None:
        ran.set()

    try:
        worker = await start(app)
        await parent.defer_async()
        async with asyncio.timeout(10):
            await ran.wait()
        worker.stop()
        worker_is_gone = "SELECT count(*) = 0 FROM taskq_workers"
        await until(lambda: connection.execute(worker_is_gone).fetchone() == (True,), "its end")
    finally:
        await engine.dispose()


async def test_notifications_may_come_by_a_database_url_of_their_own(
    app: App, start: Start, database_url: str, connection: psycopg.Connection, disturbed: Disturbed
) -> None:
    """For those behind a pooler, on whose sessions nothing may be set."""
    ran = asyncio.Event()
    seen: list[str] = []

    @app.task
    async def note() -> None:
        ran.set()

    def look(session: Connection) -> None:
        seen.extend(session.execute(text("SHOW plan_cache_mode")).first() or ())

    disturbed.before("claim_jobs", look, times=100)
    await start(
        app,
        listen_database=f"{database_url}&application_name=ears",
        fetch_job_polling_interval=60,
    )
    hears = (
        "SELECT application_name FROM pg_stat_activity "
        "WHERE datname = current_database() AND query ~ 'taskq_listen' "
        "AND pid <> pg_backend_pid()"
    )
    assert connection.execute(hears).fetchall() == [("ears",)]
    await note.defer_async()
    # Less than the interval of the polls.
    async with asyncio.timeout(15):
        await ran.wait()
    assert set(seen) == {"auto"}


async def test_a_session_of_the_worker_is_set_up_for_claims(
    app: App, start: Start, finished: Finished, disturbed: Disturbed, make_app: MakeApp
) -> None:
    seen: list[str] = []

    @app.task
    async def noop() -> None: ...

    def look(session: Connection) -> None:
        seen.extend(session.execute(text("SHOW plan_cache_mode")).first() or ())

    disturbed.before("claim_jobs", look, times=100)
    await start(app)
    await finished(await noop.defer_async())
    assert set(seen) == {"force_generic_plan"}


async def test_the_listening_connection_may_be_lost_again_and_again(
    app: App,
    start: Start,
    connection: psycopg.Connection,
    actions: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each loss is logged, and none makes it deaf for longer than the first."""
    monkeypatch.setattr("taskq.database.notifier._STEADY_AFTER", 0.0)
    await start(app, fetch_job_polling_interval=60)
    find = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
        "AND query ~ 'taskq_listen' AND pid <> pg_backend_pid() "
        "ORDER BY backend_start DESC"
    )
    # On the server, a session that has only prepared the statement looks as if it listened.
    told: list[Notification] = []
    with closing(app.database.notifier.subscribe(told.append, ping_interval=60)):
        await until(lambda: told == [Missed()], "a subscription")
        for losses in range(1, 9):
            row = connection.execute(find).fetchone()
            assert row
            told.clear()
            connection.execute("SELECT pg_terminate_backend(%s)", row)
            lost = time.monotonic()
            await until(lambda: Missed() in told, "another one")
            # If the waits grew, the last one would be two seconds and a half at least.
            assert time.monotonic() - lost < 2
            await until(
                lambda losses=losses: actions().count(("WARNING", "database_failed")) == losses,  # type: ignore[misc]
                "its record",
            )


async def test_one_that_is_given_up_while_it_is_made_leaves_no_session(
    app: App, connection: psycopg.Connection
) -> None:
    """At whichever moment, and whenever the garbage collector comes."""
    engine = app.database.async_engine

    async def connect(made: DedicatedConnection) -> None:
        async with made.connected():
            pass

    gc.disable()
    try:
        for moment in range(100):
            made = DedicatedConnection(engine, "test")
            making = asyncio.create_task(connect(made))
            await asyncio.sleep(moment * 0.0001)
            making.cancel()
            await asyncio.wait([making])
            await made.close()
        others = (
            "SELECT pid FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await until(lambda: connection.execute(others).fetchall() == [], "the end of all sessions")
    finally:
        gc.enable()
