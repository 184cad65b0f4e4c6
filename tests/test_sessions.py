"""Which connections an app has: by process and event loop, whatever a role sets, and behind a pooler."""

import asyncio
import os
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskq import App
from taskq.database import Database
from taskq.exceptions import InvalidDatabase

SETTINGS = {
    "client_encoding": "LATIN1",
    "DateStyle": "German",
    "IntervalStyle": "sql_standard",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "transform_null_equals": "on",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "default_transaction_read_only": "on",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "1",
    "TimeZone": "<odd>-05:45",
}


def sessions(connection: psycopg.Connection) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    [count] = connection.execute(query).fetchone() or (0,)
    return int(count)


def in_child(run: Callable[[], object]) -> int:
    """Run something in a forked child, for at most 30 s; returns its process id."""
    child = os.fork()
    if child:
        return child
    try:
        signal_after(30)
        run()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def signal_after(seconds: int) -> None:
    import signal  # noqa: PLC0415

    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)


@pytest.mark.parametrize(("name", "value"), SETTINGS.items())
async def test_what_a_database_sets_changes_nothing(
    connection: psycopg.Connection, database_url: str, name: str, value: str
) -> None:
    change = sql.SQL("ALTER DATABASE {} SET {} = {}").format(
        sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.Literal(value)
    )
    connection.execute(change)
    ran: list[str] = []
    async with App(database_url, worker_defaults={"wait": False}) as app:

        @app.task
        def note(text: str) -> str:
            ran.append(text)
            return text

        assert app.schema_manager.apply_schema() == []
        note.configure(queue="猫").defer(text="é")
        await note.configure(queue="猫").defer_async(text="\\ 猫")
        await app.run_worker_async(install_signal_handlers=False)
        found = app.job_manager.list_jobs(queue="猫")
        assert [job.task_kwargs for job in found] == [{"text": "é"}, {"text": "\\ 猫"}]
        for job in found:
            assert job.finished_at is not None
            assert abs((datetime.now(UTC) - job.finished_at).total_seconds()) < 60
    assert ran == ["é", "\\ 猫"]


def test_what_a_url_says_of_a_session_holds(
    database_url: str, connection: psycopg.Connection
) -> None:
    options = "-c statement_timeout=12345 -c DateStyle=German"
    database = Database.resolve(f"{database_url}&options={options.replace(' ', '%20')}")
    with database.engine.connect() as own:
        shown = [
            own.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("statement_timeout", "DateStyle", "lock_timeout")
        ]
    assert shown[0] == "12345ms"
    assert str(shown[1]).startswith("ISO")
    assert shown[2] == "0"
    database.close()


def test_libpqs_own_variables_change_nothing_that_taskq_reads(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATESTYLE", "German")
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with App(database_url) as app:
        job_id = app.configure_task("noop").defer(text="猫")
        assert app.job_manager.get_job(job_id).task_kwargs == {"text": "猫"}


@pytest.mark.parametrize("kind", ["own", "engine", "async engine"])
async def test_a_forked_child_has_connections_of_its_own(
    database_url: str, connection: psycopg.Connection, kind: str
) -> None:
    sources = {
        "own": lambda: database_url,
        "engine": lambda: create_engine(database_url),
        "async engine": lambda: create_async_engine(database_url),
    }
    source: Any = sources[kind]()  # type: ignore[no-untyped-call]
    app = App(source)
    task = app.configure_task("noop")

    def defer(who: int) -> None:
        async def defer_async() -> None:
            for number in range(25):
                await task.defer_async(who=who, number=number + 25)

        for number in range(25):
            task.defer(who=who, number=number)
        asyncio.run(defer_async())

    task.defer(who=-1, number=0)
    await task.defer_async(who=-1, number=1)
    children = [in_child(lambda who=who: defer(who)) for who in range(4)]  # type: ignore[misc]
    ids = [task.defer(who=4, number=number) for number in range(25)]
    ids += [await task.defer_async(who=4, number=number + 25) for number in range(25)]
    codes = [await asyncio.to_thread(os.waitpid, child, 0) for child in children]
    assert [os.waitstatus_to_exitcode(code) for _, code in codes] == [0] * 4
    assert len(set(ids)) == 50
    rows = connection.execute("SELECT id, args ->> 'who', args ->> 'number' FROM taskq_jobs")
    found = {id_: (who, number) for id_, who, number in rows}
    assert [found[id_] for id_ in ids if id_] == [("4", str(number)) for number in range(50)]
    assert Counter(who for who, _ in found.values()) == {
        "-1": 2,
        **{str(who): 50 for who in range(5)},
    }
    await app.close_async()
    if isinstance(source, AsyncEngine):
        await source.dispose()
    elif isinstance(source, Engine):
        source.dispose()


def test_each_event_loop_has_connections_of_its_own_until_it_ends(
    database_url: str, connection: psycopg.Connection
) -> None:
    app = App(database_url)
    task = app.configure_task("noop")
    before = sessions(connection)

    async def defer(count: int) -> None:
        for _ in range(count):
            await task.defer_async()

    for _ in range(10):
        asyncio.run(defer(1))
    with ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda _: asyncio.run(asyncio.wait_for(defer(20), 60)), range(20)))
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (410,)
    wait = "SELECT pg_sleep(0.02)"
    for _ in range(500):
        if sessions(connection) == before:
            break
        connection.execute(wait)
    assert sessions(connection) == before
    app.close()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_behind_a_pooler_nothing_is_prepared_or_set(
    database_url: str, connection: psycopg.Connection, is_async: bool
) -> None:
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET statement_timeout = 54321").format(
            sql.Identifier(connection.info.dbname)
        )
    )
    async with App(f"{database_url}&pooler=true") as app:
        task = app.configure_task("noop")
        for _ in range(10):
            await task.defer_async() if is_async else task.defer()
        prepared, timeout = "SELECT count(*) FROM pg_prepared_statements", "SHOW statement_timeout"
        if is_async:
            async with app.database.async_engine.connect() as own:
                seen = [
                    (await own.exec_driver_sql(query)).scalar() for query in (prepared, timeout)
                ]
        else:
            with app.database.engine.connect() as one:
                seen = [one.exec_driver_sql(query).scalar() for query in (prepared, timeout)]
    assert seen == [0, "54321ms"]


def test_what_a_url_says_of_a_pooler_is_yes_or_no() -> None:
    with pytest.raises(InvalidDatabase, match="write pooler=true"):
        Database.resolve("postgresql://h/d?pooler=maybe")
    for url in (
        "postgresql://h/d?pooler=true",
        "postgresql://h/d?pooler=on&port=1",
        "postgresql://h:1,i:2/d?port=1&pooler=1",
        "host=h pooler=yes dbname=d",
    ):
        database = Database.resolve(url)
        assert database.pooler
        assert "pooler" not in str(database.engine.url)
    assert not Database.resolve("postgresql://h/d?pooler=true", pooler=False).pooler
