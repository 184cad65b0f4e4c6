"""The schema comes into a database once, however many processes ask for it, and past all obstacles."""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread
from time import monotonic, sleep
from typing import Any

import psycopg
import pytest

from taskq import SchemaManager
from taskq.exceptions import (
    DatabaseUnavailable,
    MigrationBlocked,
    MigrationEdited,
    MigrationFailed,
    MigrationOutOfOrder,
    SchemaNotApplied,
    SchemaTooNew,
)
from taskq.schema import MigrationState, read_migrations
from tests.schema.conftest import COMING, Folder, InNamespace, Schema

Connect = Callable[[], psycopg.Connection]


def names(migrations: Any) -> list[str]:
    return [migration.name for migration in migrations]


def standing(schema: SchemaManager, state: MigrationState) -> list[str]:
    return names(status for status in schema.status() if status.state is state)


def wait_until(connection: psycopg.Connection, question: str) -> None:
    deadline = monotonic() + 15
    while connection.execute(f"SELECT {question}".encode()).fetchone() != (True,):
        assert monotonic() < deadline, f"not within 15 s: {question}"
        sleep(0.02)


def wait_for(said: str, caplog: pytest.LogCaptureFixture) -> None:
    deadline = monotonic() + 15
    while said not in caplog.text:
        assert monotonic() < deadline, f"not said within 15 s: {said}"
        sleep(0.01)


def test_an_empty_database_gets_the_schema_and_then_nothing_more(app_in: InNamespace) -> None:
    app = app_in("fresh")
    schema = app.schema_manager
    assert schema.is_applied() is app.check_connection() is False
    with pytest.raises(SchemaNotApplied, match="run python -m taskq schema apply"):
        schema.check()
    assert schema.apply_schema() == read_migrations()
    assert schema.is_applied() is app.check_connection() is True
    assert schema.apply_schema() == []
    schema.check()
    assert {status.state for status in schema.status()} == {MigrationState.APPLIED}
    assert app.configure_task("noop").defer() == 1
    assert len(app.job_manager.list_jobs(ids=[1])) == 1, "as autocommit is back"


async def test_the_async_face_does_the_same(app_in: InNamespace) -> None:
    app = app_in("fresh")
    schema = app.schema_manager
    assert await app.check_connection_async() is False
    with pytest.raises(SchemaNotApplied):
        await schema.check_async()
    assert (await schema.sql_async()).count("BEGIN;") == len(read_migrations())
    assert await schema.apply_schema_async() == read_migrations()
    assert await schema.is_applied_async() is True
    assert await schema.apply_schema_async() == []
    await schema.check_async()
    assert await schema.status_async() == schema.status()
    assert await schema.grants_async("x", "worker") == schema.grants("x", "worker")
    assert await app.configure_task("noop").defer_async() == 1
    assert await schema.count_users_async() == (1, 0)
    assert await schema.namespace_async() == schema.namespace() == "fresh"
    assert await schema.remove_async() is True
    assert await schema.remove_async() is False


def test_the_session_that_migrates_leaves_nothing_behind(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    app = app_in("fresh")
    app.schema_manager.apply_schema()
    with app.database.engine.connect() as pooled:
        settings = [
            pooled.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("search_path", "lock_timeout", "statement_timeout")
        ]
    assert settings == ["fresh", "0", "0"]
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = ("
    mine = f"{locks}SELECT oid FROM pg_database WHERE datname = current_database())"
    wait_until(connection, f"({mine}) = 0")


def test_of_ten_at_once_one_applies_it_and_the_others_find_it_done(
    schema_in: Schema, folder: Folder
) -> None:
    # With an index that is built concurrently: it waits for each session that holds a snapshot.
    coming = folder.add_coming()
    schemas = [schema_in("fresh", folder.path) for _ in range(10)]
    start = Barrier(10)

    def apply(schema: SchemaManager) -> int:
        start.wait()
        return len(schema.apply_schema())

    with ThreadPoolExecutor(10) as pool:
        applied = sorted(pool.map(apply, schemas))
    assert applied == [0] * 9 + [len(folder.real) + len(coming)]


def test_who_migrates_one_namespace_keeps_no_other_from_another(
    schema_in: Schema, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "taskq.schema")
    busy = schema_in("two")
    other = connect()
    other.autocommit = True
    other.execute("SET search_path TO two")
    other.execute(
        "SELECT pg_advisory_lock(hashtextextended('taskq_migrations of ' || current_schema(), 0))"
    )
    assert schema_in("one").apply_schema() == read_migrations()
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(busy.apply_schema)
        wait_for("another process applies the schema", caplog)
        assert not busy.is_applied()
        other.close()
        assert applied.result(timeout=15) == read_migrations()


def test_only_what_is_missing_is_applied(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection
) -> None:
    schema_in("fresh").apply_schema()
    later = folder.add("pre_later", "CREATE TABLE later ();")
    schema = schema_in("fresh", folder.path)
    assert standing(schema, MigrationState.PENDING) == [later]
    [applied] = schema.apply_schema()
    assert applied.name == later
    connection.execute("SELECT FROM fresh.later")
    rows = connection.execute("SELECT name, checksum FROM fresh.taskq_migrations").fetchall()
    assert (later, applied.checksum) in rows
    assert schema.apply_schema() == []


async def test_a_migration_is_applied_all_or_not_at_all_and_those_before_it_stay(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection
) -> None:
    bad = folder.add("pre_bad", "CREATE TABLE half ();\nSELECT 1 / 0;")
    folder.add("pre_never", "CREATE TABLE never ();")
    schema = schema_in("fresh", folder.path)
    expected = rf"{bad} cannot be applied \(division by zero\): what came before it is applied"
    for _ in range(2):
        with pytest.raises(MigrationFailed, match=expected):
            schema.apply_schema()
        with pytest.raises(MigrationFailed, match=expected):
            await schema.apply_schema_async()
    assert standing(schema, MigrationState.APPLIED) == names(folder.real)
    for table in ("half", "never"):
        found = connection.execute(f"SELECT to_regclass('fresh.{table}')".encode()).fetchone()
        assert found == (None,)
    (folder.path / bad).write_text("CREATE TABLE half ();")
    assert len(schema.apply_schema()) == 2


async def test_a_migration_that_was_edited_is_refused_and_nothing_is_applied(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection
) -> None:
    schema_in("fresh").apply_schema()
    connection.execute("UPDATE fresh.taskq_migrations SET checksum = 'x' WHERE version = 1")
    folder.add("pre_later", "CREATE TABLE later ();")
    schema = schema_in("fresh", folder.path)
    assert standing(schema, MigrationState.EDITED) == ["0001_pre_tables.sql"]
    expected = r"a migration 1 that is not 0001_pre_tables.sql .*: write a new one"
    for refused in (schema.apply_schema, schema.check, schema.sql):
        with pytest.raises(MigrationEdited, match=expected):
            refused()
    with pytest.raises(MigrationEdited, match=expected):
        await schema.apply_schema_async()
    assert connection.execute("SELECT to_regclass('fresh.later')").fetchone() == (None,)


# Deployments


def test_a_deployment_applies_pre_first_and_the_rest_when_the_old_code_is_gone(
    schema_in: Schema, folder: Folder
) -> None:
    old = schema_in("shop")
    old.apply_schema()
    coming = folder.add_coming()
    new = schema_in("shop", folder.path)

    with pytest.raises(SchemaNotApplied, match=rf"\({coming[0]} and 2 more are missing\)"):
        new.check()
    assert names(new.apply_schema(pre_only=True)) == coming[:3]
    assert new.apply_schema(pre_only=True) == []
    assert standing(new, MigrationState.PENDING) == coming[3:]
    assert standing(old, MigrationState.UNKNOWN) == coming[:3]
    for code in (old, new):
        code.check()
    assert old.apply_schema() == [], "the old code, restarted in the middle, has nothing to do"

    assert names(new.apply_schema()) == coming[3:]
    new.check()
    expected = rf"the database has '{coming[3]}', which this version of taskq does not know"
    for refused in (old.check, old.apply_schema, old.sql):
        with pytest.raises(SchemaTooNew, match=expected):
            refused()


def test_what_must_come_first_is_said_before_anything_is_applied(
    schema_in: Schema, folder: Folder
) -> None:
    schema_in("shop").apply_schema()
    forgotten = folder.add("post_forgotten", "COMMENT ON TABLE taskq_jobs IS 'a';")
    next_one = folder.add("pre_next", "COMMENT ON TABLE taskq_jobs IS 'b';")
    schema = schema_in("shop", folder.path)
    up_to = len(folder.real) + 1
    expected = f"{forgotten} .* is pending, and {next_one} comes after it: .* --up-to {up_to}"
    with pytest.raises(MigrationOutOfOrder, match=expected):
        schema.apply_schema(pre_only=True)
    assert standing(schema, MigrationState.PENDING) == [forgotten, next_one]
    assert names(schema.apply_schema(up_to=up_to)) == [forgotten]
    assert names(schema.apply_schema(pre_only=True)) == [next_one]


# Obstacles


def test_a_lock_that_is_not_to_be_had_stalls_no_session_and_is_said_to_be_whose(
    schema_in: Schema,
    folder: Folder,
    connection: psycopg.Connection,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "taskq.schema")
    schema_in("public")
    folder.add_coming()
    schema = schema_in("public", folder.path)
    report = connect()
    report.execute("SELECT count(*) FROM taskq_jobs")
    failures: list[BaseException] = []

    def apply() -> None:
        try:
            schema.apply_schema(patience=2)
        except MigrationBlocked as error:
            failures.append(error)

    migrating = Thread(target=apply)
    migrating.start()
    waits = []
    while migrating.is_alive():
        before = monotonic()
        connection.execute("""SELECT taskq_defer_jobs('[{"task_name": "noop"}]')""")
        waits.append(monotonic() - before)
        sleep(0.01)
    migrating.join()
    [blocked] = failures
    assert f"process {report.info.backend_pid} of " in str(blocked)
    assert "add_note.sql could not get a lock within 2 s" in str(blocked)
    assert "waits for a lock, and tries again" in caplog.text
    # It waited for half a second and stepped back. The bound is for slow machines: without it, 60 s.
    assert 0.2 < max(waits) < 4

    report.rollback()
    assert len(schema.apply_schema()) == len(COMING)


def test_a_migration_gets_its_lock_as_soon_as_it_can(
    schema_in: Schema, folder: Folder, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "taskq.schema")
    schema_in("public")
    folder.add_coming()
    schema = schema_in("public", folder.path)
    report = connect()
    report.execute("SELECT count(*) FROM taskq_jobs")
    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(schema.apply_schema)
        wait_for("tries again", caplog)
        assert not applied.done()
        report.rollback()
        assert len(applied.result(timeout=30)) == len(COMING)


def test_an_index_whose_building_was_cut_off_is_built_anew(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection, connect: Connect
) -> None:
    schema_in("public")
    folder.add_coming()
    schema = schema_in("public", folder.path)
    schema.apply_schema(up_to=len(folder.real) + 1)
    report = connect()
    # Not in the index's way, but with an older snapshot, whose end it has to wait for.
    report.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    report.execute("SELECT count(*) FROM taskq_jobs")
    building = (
        "FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
    )
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('taskq_jobs_note')"

    with ThreadPoolExecutor(1) as pool:
        applied = pool.submit(schema.apply_schema)
        wait_until(connection, f"EXISTS (SELECT {building})")
        sleep(0.8)  # longer than a lock may be waited for in a transaction
        connection.execute("""SELECT taskq_defer_jobs('[{"task_name": "noop"}]')""")
        connection.execute(f"SELECT pg_terminate_backend(pid) {building}".encode())
        with pytest.raises(DatabaseUnavailable):
            applied.result(timeout=15)
    report.rollback()
    assert connection.execute(valid.encode()).fetchone() == (False,)
    assert len(schema.apply_schema(up_to=len(folder.real) + 2)) == 1
    assert connection.execute(valid.encode()).fetchone() == (True,)
