"""Which database is meant, and what is done to its engines."""

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskq.database.database import LIBPQ_VARIABLES, URL_VARIABLE, Database
from taskq.exceptions import DatabaseNotConfigured, DatabaseUnavailable, InvalidDatabase
from taskq.manager import JobManager

SECRET = "hunter2"  # noqa: S105


def name_by(engine: Engine) -> object:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT current_database()"))


async def name_by_async(engine: AsyncEngine) -> object:
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT current_database()"))


def runs(folder: Path) -> bool:
    return any(folder.glob("*/postmaster.pid"))


def test_an_argument_comes_before_the_environment() -> None:
    environ = {"TASKQ_DATABASE_URL": "postgresql://second", "PGHOST": "third"}
    assert "first" in repr(Database.resolve("postgresql://first", environ))


def test_taskqs_own_variable_comes_before_libpqs() -> None:
    environ = {"TASKQ_DATABASE_URL": "postgresql://second", "PGHOST": "third"}
    assert "second" in repr(Database.resolve(None, environ))


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"])
def test_libpqs_variables_come_before_the_embedded_server(name: str) -> None:
    database = Database.resolve(None, {name: "1", "TASKQ_DATABASE_URL": ""})
    assert repr(database) == "<Database postgresql+psycopg://>"


async def test_libpq_reads_its_variables_itself(
    connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = connection.info
    monkeypatch.setenv("PGHOST", info.host)
    monkeypatch.setenv("PGPORT", str(info.port))
    monkeypatch.setenv("PGUSER", info.user)
    monkeypatch.setenv("PGPASSWORD", info.password)
    monkeypatch.setenv("PGDATABASE", info.dbname)
    monkeypatch.delenv("TASKQ_DATABASE_URL", raising=False)
    database = Database.resolve()
    assert name_by(database.engine) == info.dbname
    assert await name_by_async(database.async_engine) == info.dbname
    await database.close_async()


async def test_the_embedded_server_comes_last_and_runs_until_the_database_is_closed(
    tmp_path: Path,
) -> None:
    # Variables that say who, not where.
    environ = {"TASKQ_EMBEDDED_FOLDER": str(tmp_path), "PGUSER": "x", "PGPASSFILE": "y"}
    database = Database.resolve(None, environ)
    assert repr(database) == f"<Database embedded in '{tmp_path}'>"
    assert not runs(tmp_path)
    assert name_by(database.engine) == await name_by_async(database.async_engine) == "postgres"
    assert runs(tmp_path)
    await database.close_async()
    assert not runs(tmp_path)
    assert name_by(database.engine) == "postgres", "it opens again"
    database.close()
    assert not runs(tmp_path)


def test_without_any_it_says_all_that_could_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.database.database.is_installed", lambda: False)
    with pytest.raises(DatabaseNotConfigured) as caught:
        Database.resolve(None, {})
    extra = "pip install 'taskq-sql[embedded]'"
    for choice in ("an argument", "TASKQ_DATABASE_URL", "PGHOST", extra):
        assert choice in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
async def test_both_engines_reach_the_database_of_a_url(scheme: str, database_url: str) -> None:
    database = Database.resolve(database_url.replace("postgresql+psycopg", scheme))
    name = make_url(database_url).database
    assert name_by(database.engine) == await name_by_async(database.async_engine) == name
    assert database.engine is database.engine
    assert database.async_engine is database.async_engine
    await database.close_async()


@pytest.mark.parametrize(
    ("database", "expected"),
    [
        (f"mysql://u:{SECRET}@h/d", "for mysql"),
        (f"postgresql+asyncpg://u:{SECRET}@h/d?password={SECRET}", r"for postgresql\+asyncpg"),
        (f"postgresql://u:p@{SECRET}@h/d", "%40"),
        (f"postgresql://u:{SECRET}@h:{SECRET}/d", "not a URL"),
        ("", "not a URL"),
    ],
)
def test_what_is_not_a_url_for_psycopg_is_refused(database: str, expected: str) -> None:
    with pytest.raises(InvalidDatabase, match=expected) as caught:
        Database.resolve(database)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None, "which would show more than the message"


def test_an_engine_for_another_driver_is_refused() -> None:
    with pytest.raises(InvalidDatabase, match=r"for sqlite\+pysqlite, .* postgresql\+psycopg"):
        Database.resolve(create_engine("sqlite://"))


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{SECRET}@h/d",
        f"postgresql://u@h/d?password={SECRET}",
        f"postgresql:///d?host=/h&user=u&password={SECRET}",
        f"postgresql://u@h/d?sslpassword={SECRET}&passfile={SECRET}",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    database = Database.resolve(url)
    assert SECRET not in repr(database)
    assert "d" in repr(database)
    if "sslpassword" not in url:
        shown = repr([database.engine, database.async_engine, database.engine.url])
        assert SECRET not in shown
        [], parameters = database.engine.dialect.create_connect_args(database.engine.url)
        assert parameters["password"] == SECRET


@pytest.mark.parametrize("given", ["url", "engine", "async engine"])
async def test_a_statement_needs_no_commit(
    given: str, database_url: str, connection: psycopg.Connection
) -> None:
    # Both with SQLAlchemy's default, a transaction that is rolled back.
    engine, async_engine = create_engine(database_url), create_async_engine(database_url)
    sources: dict[str, str | Engine | AsyncEngine]
    sources = {"url": database_url, "engine": engine, "async engine": async_engine}
    database = Database.resolve(sources[given])
    with database.engine.connect() as one:
        one.execute(text("CREATE TABLE one ()"))
    async with database.async_engine.connect() as two:
        await two.execute(text("CREATE TABLE two ()"))
    connection.execute("SELECT FROM one, two")
    await database.close_async()
    engine.dispose()
    await async_engine.dispose()


async def test_a_callers_engines_stay_as_they_are(database_url: str) -> None:
    engine, async_engine = create_engine(database_url), create_async_engine(database_url)
    for given in (engine, async_engine):
        database = Database.resolve(given)
        name_by(database.engine)
        await name_by_async(database.async_engine)
        made = {database.engine.pool, database.async_engine.pool} - {given.pool}
        await database.close_async()
        assert given.pool.checkedin() == 1  # type: ignore[attr-defined]
        assert [pool.checkedin() for pool in made] == [0]  # type: ignore[attr-defined]
    with engine.connect() as one, engine.connect() as two:
        one.execute(text("CREATE TABLE uncommitted ()"))
        assert two.scalar(text("SELECT to_regclass('uncommitted')")) is None
    engine.dispose()
    await async_engine.dispose()


def test_close_closes_what_an_ended_event_loop_used(database_url: str) -> None:
    database = Database.resolve(database_url)
    asyncio.run(name_by_async(database.async_engine))
    pool = database.async_engine.pool
    database.close()
    assert pool.checkedin() == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "environ", "named"),
    [
        ("postgresql://me:secret@localhost:1/shop", {}, "/shop>, which was given"),
        (
            None,
            {URL_VARIABLE: "postgresql://localhost:1/shop"},
            "/shop>, named by TASKQ_DATABASE_URL",
        ),
        (None, {"PGHOST": "localhost", "PGPORT": "1"}, "named by PGHOST, PGPORT"),
        (create_engine("postgresql+psycopg://localhost:1/shop"), {}, "whose engine was given"),
    ],
    ids=["argument", "variable", "libpq", "engine"],
)
def test_a_database_that_does_not_answer_is_named_with_where_its_name_comes_from(
    monkeypatch: pytest.MonkeyPatch, given: Any, environ: dict[str, str], named: str
) -> None:
    for variable in (URL_VARIABLE, *LIBPQ_VARIABLES):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(DatabaseUnavailable) as raised:
        JobManager(Database.resolve(given)).count_jobs()
    assert named in str(raised.value)
    assert "secret" not in str(raised.value)
