"""The schema: it comes into a database once, whoever and however many ask for it."""

import hashlib
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus
from taskq.exceptions import InvalidDatabase, MigrationEdited
from taskq.schema import Migration, read_migrations

InNamespace = Callable[[str], App]


@pytest.fixture
async def app_in(connection: psycopg.Connection, database_url: str) -> AsyncIterator[InNamespace]:
    """Makes apps in an empty namespace each: for taskq, an empty database."""
    apps: list[App] = []

    def make(namespace: str) -> App:
        if "," not in namespace:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {namespace}".encode())
        apps.append(App(f"{database_url}&options=-csearch_path%3D{namespace}"))
        return apps[-1]

    yield make
    for app in apps:
        await app.close_async()


def test_migrations_are_numbered_in_order_without_a_gap() -> None:
    migrations = read_migrations()
    assert [migration.version for migration in migrations] == list(range(1, len(migrations) + 1))
    assert migrations[0].name == "0001_initial.sql"
    assert migrations[0].checksum == hashlib.sha256(migrations[0].sql).hexdigest()


def test_an_empty_database_gets_the_schema_and_then_nothing_more(app_in: InNamespace) -> None:
    app = app_in("fresh")
    assert app.schema_manager.is_applied() is app.check_connection() is False
    assert app.schema_manager.apply_schema() == read_migrations()
    assert app.schema_manager.is_applied() is app.check_connection() is True
    assert app.schema_manager.apply_schema() == []
    assert app.configure_task("noop").defer() == 1
    assert len(app.job_manager.list_jobs(ids=[1])) == 1, "as autocommit is back"


async def test_the_async_face_does_the_same(app_in: InNamespace) -> None:
    app = app_in("fresh")
    assert await app.check_connection_async() is False
    assert await app.schema_manager.apply_schema_async() == read_migrations()
    assert await app.schema_manager.is_applied_async() is True
    assert await app.schema_manager.apply_schema_async() == []
    assert await app.configure_task("noop").defer_async() == 1


def test_of_ten_at_once_one_applies_it_and_the_others_find_it_done(app_in: InNamespace) -> None:
    app = app_in("fresh")
    start = Barrier(10)

    def apply(_: int) -> int:
        start.wait()
        return len(app.schema_manager.apply_schema())

    with ThreadPoolExecutor(10) as pool:
        applied = sorted(pool.map(apply, range(10)))
    assert applied == [0] * 9 + [len(read_migrations())]


def later(sql: bytes) -> list[Migration]:
    return [*read_migrations(), Migration(version=9000, name="9000_later.sql", sql=sql)]


def test_only_what_is_missing_is_applied(
    app_in: InNamespace, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection
) -> None:
    app = app_in("fresh")
    app.schema_manager.apply_schema()
    monkeypatch.setattr("taskq.schema.read_migrations", lambda: later(b"CREATE TABLE later ()"))
    [applied] = app.schema_manager.apply_schema()
    assert applied.name == "9000_later.sql"
    connection.execute("SELECT FROM fresh.later")
    rows = connection.execute("SELECT version, checksum FROM fresh.taskq_migrations").fetchall()
    assert (9000, applied.checksum) in rows
    assert app.schema_manager.apply_schema() == []


def test_migrations_are_applied_all_or_none(
    app_in: InNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_in("fresh")
    with monkeypatch.context() as patched:
        patched.setattr("taskq.schema.read_migrations", lambda: later(b"SELECT 1 / 0"))
        with pytest.raises(psycopg.errors.DivisionByZero):
            app.schema_manager.apply_schema()
    assert app.schema_manager.is_applied() is False
    assert app.schema_manager.apply_schema() == read_migrations()


async def test_a_migration_that_was_edited_is_refused_and_nothing_is_applied(
    app_in: InNamespace, monkeypatch: pytest.MonkeyPatch, connection: psycopg.Connection
) -> None:
    app = app_in("fresh")
    app.schema_manager.apply_schema()
    connection.execute("UPDATE fresh.taskq_migrations SET checksum = 'x' WHERE version = 1")
    monkeypatch.setattr("taskq.schema.read_migrations", lambda: later(b"CREATE TABLE later ()"))
    expected = r"a migration 1 that is not 0001_initial.sql .*: write a new one"
    with pytest.raises(MigrationEdited, match=expected):
        app.schema_manager.apply_schema()
    with pytest.raises(MigrationEdited, match=expected):
        await app.schema_manager.apply_schema_async()
    assert connection.execute("SELECT to_regclass('fresh.later')").fetchone() == (None,)


def test_two_namespaces_of_one_database_know_nothing_of_each_other(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    apps: dict[str, Any] = {name: app_in(name) for name in ("one", "two")}
    for app in apps.values():
        assert app.schema_manager.apply_schema() == read_migrations()
    connection.execute("SELECT one.taskq_listen()")
    two = apps["two"].configure_task("noop", queue="of_two", queueing_lock="q").defer()
    one = apps["one"].configure_task("noop", queue="of_one", queueing_lock="q").defer()
    # The first to arrive, although the other was sent before.
    [notify] = connection.notifies(timeout=10, stop_after=1)
    assert notify.payload.endswith(" of_one")
    assert one == two == 1
    assert apps["one"].job_manager.cancel_job_by_id(one) is True
    assert {name: app.job_manager.count_jobs() for name, app in apps.items()} == {
        "one": {("of_one", "noop", JobStatus.CANCELLED): 1},
        "two": {("of_two", "noop", JobStatus.TODO): 1},
    }


def test_a_namespace_in_front_of_one_with_the_schema_gets_its_own(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE SCHEMA front")
    assert app_in("front,public").schema_manager.apply_schema()
    present = connection.execute("SELECT to_regclass('front.taskq_jobs') IS NOT NULL").fetchone()
    assert present == (True,)


def test_a_namespace_that_does_not_exist_is_what_is_wrong(database_url: str) -> None:
    app = App(f"{database_url}&options=-csearch_path%3Dnowhere")
    try:
        with pytest.raises(InvalidDatabase, match="search_path names no namespace"):
            app.schema_manager.apply_schema()
    finally:
        app.close()
