"""Which connections an app has: by process and event loop, whatever a role sets, and behind a pooler."""

import asyncio
import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskq import App
from taskq.database.database import Database
from taskq.exceptions import AlreadyEnqueued, InvalidDatabase

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
    "bytea_output": "escape",
    "row_security": "off",
    "exit_on_error": "on",
}


def sessions(connection: psycopg.Connection) -> int:
    query = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    [count] = connection.execute(query).fetchone() or (0,)
    return int(count)


def wait_for(connection: psycopg.Connection, condition: Callable[[], bool]) -> None:
    for _ in range(500):
        if condition():
            return
        connection.execute("SELECT pg_sleep(0.02)")
    pytest.fail("it did not come about within 10 s")


def ends_within(connection: psycopg.Connection, pid: int) -> None:
    query = "SELECT FROM pg_stat_activity WHERE pid = %s"
    wait_for(connection, lambda: connection.execute(query, [pid]).fetchone() is None)


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    app = App(database_url)
    yield app
    app.close()


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
        second = note.configure(queue="猫", queueing_lock="one")
        await second.defer_async(text="\\ 猫")
        with pytest.raises(AlreadyEnqueued):
            second.defer(text="again")
        await app.run_worker_async(install_signal_handlers=False)
        found = app.job_manager.list_jobs(queue="猫")
        assert [job.task_kwargs for job in found] == [{"text": "é"}, {"text": "\\ 猫"}]
        for job in found:
            assert job.finished_at is not None
            assert abs((datetime.now(UTC) - job.finished_at).total_seconds()) < 60
    assert ran == ["é", "\\ 猫"]


def test_a_transaction_may_take_its_time(app: App, connection: psycopg.Connection) -> None:
    if connection.info.server_version < 170000:
        pytest.skip("PostgreSQL has transaction_timeout since 17")
    name = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("ALTER DATABASE {} SET transaction_timeout = 2000").format(name))
    with app.database.engine.connect() as own:
        assert own.exec_driver_sql("SHOW transaction_timeout").scalar() == "0"


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


def test_a_child_looks_a_database_up_while_its_parent_does(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_DATABASE_URL", database_url)
    app = App()
    with app._database._finding:
        child = in_child(lambda: app.configure_task("noop").defer())
    assert os.waitpid(child, 0)[1] == 0
    [job] = app.job_manager.list_jobs()
    assert job.task_name == "noop"
    app.close()


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


async def test_a_worker_goes_on_after_a_task_that_forked(
    app: App, connection: psycopg.Connection
) -> None:
    @app.task
    def note(number: int) -> None: ...

    @app.task(queue="parent")
    async def fork() -> None:
        def defer_and_work() -> None:
            note.defer(number=1)
            app.run_worker(queues=["default"], wait=False, install_signal_handlers=False)

        _, code = await asyncio.to_thread(os.waitpid, in_child(defer_and_work), 0)
        assert os.waitstatus_to_exitcode(code) == 0
        await note.configure(queue="parent").defer_async(number=2)

    await fork.defer_async()
    await app.run_worker_async(queues=["parent"], wait=False, install_signal_handlers=False)
    jobs = await app.job_manager.list_jobs_async()
    assert [job.status for job in jobs] == ["succeeded"] * 3
    assert len({job.worker_id for job in jobs}) == 2


def test_a_child_keeps_no_session_of_its_parent_open(
    app: App, connection: psycopg.Connection
) -> None:
    app.configure_task("noop").defer()
    reading, writing = os.pipe()

    def wait() -> None:
        os.close(writing)
        os.read(reading, 1)

    child = in_child(wait)
    os.close(reading)
    with app.database.engine.connect() as own:
        driver = own.connection.driver_connection
        # As if the parent were killed: nothing is said, and its file is closed.
        assert isinstance(driver, psycopg.Connection)
        pid = driver.info.backend_pid
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, driver.fileno())
        os.close(nothing)
        own.invalidate()
    ends_within(connection, pid)
    os.close(writing)
    assert os.waitpid(child, 0)[1] == 0


def test_each_event_loop_has_connections_of_its_own_until_it_ends(
    app: App, connection: psycopg.Connection
) -> None:
    task = app.configure_task("noop")
    before = sessions(connection)

    async def defer(count: int) -> None:
        await asyncio.gather(*(task.defer_async() for _ in range(count)))
        # Not in one statement.
        for _ in range(count):
            await asyncio.gather(app.job_manager.count_jobs_async(), task.defer_async())

    for _ in range(10):
        asyncio.run(defer(1))
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda _: asyncio.run(asyncio.wait_for(defer(10), 60)), range(40)))
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (820,)
    wait_for(connection, lambda: sessions(connection) == before)


def test_the_connections_of_a_loop_that_was_only_closed_are_closed_by_the_next(
    app: App, connection: psycopg.Connection
) -> None:
    before = sessions(connection)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(app.configure_task("noop").defer_async())
        loop.close()
    wait_for(connection, lambda: sessions(connection) == before + 1)
    app.close()
    wait_for(connection, lambda: sessions(connection) == before)


async def test_an_app_is_closed_while_others_use_it(
    app: App, connection: psycopg.Connection
) -> None:
    before = sessions(connection)
    with connection.transaction():
        connection.execute("LOCK TABLE taskq_jobs")
        deferred = asyncio.create_task(app.configure_task("noop").defer_async())
        while sessions(connection) == before:
            connection.execute("SELECT pg_stat_clear_snapshot()")
            await asyncio.sleep(0.01)
        app.close()
    assert await deferred
    wait_for(connection, lambda: sessions(connection) == before)


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


async def test_a_worker_behind_a_pooler_only_polls_and_says_so(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = App(database_url, pooler=True)
    ran = asyncio.Event()

    @app.task
    async def note() -> None:
        ran.set()

    worker = app.worker(install_signal_handlers=False, fetch_job_polling_interval=0.2)
    running = asyncio.create_task(worker.run())

    def said() -> set[object]:
        return {getattr(record, "action", None) for record in caplog.records}

    while "worker_only_polls" not in said():
        assert not running.done()
        await asyncio.sleep(0.01)
    await note.defer_async()
    await asyncio.wait_for(ran.wait(), 10)
    async with app.database.async_engine.connect() as own:
        [[jobs]] = await own.exec_driver_sql(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND (query ~* 'listen' OR query ~ 'set_config') AND pid <> pg_backend_pid()"
        )
    assert jobs == 0
    worker.stop()
    await running
    await app.close_async()


def test_the_schema_is_not_changed_through_a_pooler(bare_url: str, database_url: str) -> None:
    with App(bare_url, pooler=True) as app:
        with pytest.raises(InvalidDatabase, match="name the server itself"):
            app.schema_manager.apply_schema()
        assert not app.schema_manager.is_applied()
        with app.replace_database(database_url, pooler=True):
            assert app.database.pooler
            assert app.schema_manager.apply_schema() == []
            with pytest.raises(InvalidDatabase, match="name the server itself"):
                app.schema_manager.remove()


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_nothing_is_prepared_on_a_callers_engine_behind_a_pooler(
    database_url: str, is_async: bool
) -> None:
    engine = create_async_engine(database_url) if is_async else create_engine(database_url)
    app = App(engine, pooler=True)
    task = app.configure_task("noop")
    for _ in range(10):
        await task.defer_async() if is_async else task.defer()
    count = "SELECT count(*) FROM pg_prepared_statements"
    if isinstance(engine, AsyncEngine):
        async with engine.connect() as own:
            assert await own.scalar(text(count)) == 0
        await engine.dispose()
    else:
        with engine.connect() as one:
            assert one.scalar(text(count)) == 0
        engine.dispose()
