"""Text comes through whatever the encodings of the database and of the client are, or is refused in words."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import create_engine

from taskq import App
from taskq.deferrer import JobOptions
from taskq.exceptions import InvalidArguments, InvalidDatabase, InvalidJob, InvalidName
from tests.conftest import url_of

MakeDatabase = Callable[[str], App]

TEXTS = {
    "UTF8": "é 猫 😀",
    "LATIN1": "é ÿ",
    "WIN1252": "é € “",
    "EUC_JP": "猫 カ",
    "EUC_TW": "貓",
    "KOI8R": "кот",
}


@pytest.fixture
def make_database(connection: psycopg.Connection) -> Iterator[MakeDatabase]:
    """Makes a database of an encoding, with the schema unless it is refused."""
    info = connection.info
    name = f"{info.dbname}_encoded"
    apps: list[App] = []

    def make(encoding: str) -> App:
        statement = "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Literal(encoding)))
        app = App(
            url_of(info.host, info.port, info.user, name, info.password),
            worker_defaults={"wait": False, "install_signal_handlers": False},
        )
        apps.append(app)
        if encoding != "SQL_ASCII":
            app.schema_manager.apply_schema()
        return app

    yield make
    for app in apps:
        app.close()
    connection.execute(
        sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    )


def to(app: App) -> psycopg.Connection:
    """A connection of another client to the same database."""
    parameters: dict[str, Any] = app.database.libpq_parameters()
    return psycopg.connect(**parameters, autocommit=True)


@pytest.mark.parametrize("encoding", TEXTS)
async def test_what_the_encoding_of_the_database_has_comes_through(
    make_database: MakeDatabase,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    app = make_database(encoding)
    text = TEXTS[encoding]
    name = app.database.libpq_parameters()["dbname"]
    connection.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'".encode())

    @app.task(store_result=True)
    async def echo(value: str) -> str:
        return value

    @app.task
    async def fail(value: str) -> None:
        raise ValueError(value)

    deferred = echo.configure(queue=text, lock=text)
    ids = [deferred.defer(value=text), await deferred.defer_async(value=text)]
    failing = fail.configure(queue=text).defer(value=text)
    await app.run_worker_async(queues=[text])
    jobs = app.job_manager.list_jobs(queue=text, lock=text)
    assert [(job.id, job.task_kwargs, job.result) for job in jobs] == [
        (id_, {"value": text}, text) for id_ in ids
    ]
    [attempt] = app.job_manager.list_failed_attempts(failing)
    assert text in attempt.error_message


async def test_what_it_lacks_is_refused_when_deferred_by_name_and_value(
    make_database: MakeDatabase,
) -> None:
    app = make_database("LATIN1")
    task = app.configure_task("feed")
    with pytest.raises(InvalidArguments, match="feed: pet='猫' has '猫', which the encoding"):
        task.defer(pet="猫")
    answers = await asyncio.gather(
        task.defer_async(pet={"name": ["é"]}),
        task.defer_async(pet={"name": ["猫"]}),
        task.defer_async(pet="é"),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers] == [int, InvalidArguments, int]
    options: list[JobOptions] = [{"queue": "猫"}, {"lock": "猫"}, {"queueing_lock": "猫"}]
    for option in options:
        with pytest.raises(InvalidName, match=f"{next(iter(option))}='猫' has '猫'"):
            task.configure(**option).defer()
    labels: list[JobOptions] = [{"metadata": {"pet": "猫"}}, {"tags": ["a", "猫"]}]
    for option in labels:
        with pytest.raises(InvalidJob, match=f"{next(iter(option))}=.* has '猫'"):
            task.configure(**option).defer()
    with pytest.raises(InvalidDatabase, match="'猫' cannot be converted"):
        app.job_manager.list_jobs(queue="猫")
    assert len(app.job_manager.list_jobs()) == 2


async def test_an_error_that_the_database_cannot_store_is_escaped(
    make_database: MakeDatabase,
) -> None:
    app = make_database("LATIN1")

    @app.task(retry=1)
    async def fail() -> None:
        raise ValueError("é 猫")

    @app.task(store_result=True)
    async def answer(text: str) -> str:
        return text or "猫"

    failed = fail.defer()
    unstorable, fine = answer.defer(text=""), answer.defer(text="é")
    await app.run_worker_async(concurrency=3)
    assert app.job_manager.get_job(fine).result == "é"
    assert [
        (attempt.error_type, attempt.error_message)
        for attempt in app.job_manager.list_failed_attempts(failed)
    ] == [("ValueError", "é \\u732b")] * 2
    [attempt] = app.job_manager.list_failed_attempts(unstorable)
    assert attempt.error_type == "taskq.exceptions.InvalidResult"


@pytest.mark.parametrize(
    "values",
    [
        {"args": "jsonb_build_object('text', chr(129))"},
        {"task_name": "chr(129)"},
        {"queueing_lock": "chr(129)"},
    ],
    ids=lambda values: next(iter(values)),
)
async def test_what_utf8_lacks_stops_no_other_job(
    make_database: MakeDatabase, values: dict[str, str]
) -> None:
    app = make_database("WIN1252")

    @app.task(name="note")
    async def note(text: str) -> None: ...

    before = note.defer(text="é")
    row = {"task_name": "'note'", "queue_name": "'default'", "args": "'{}'"} | values
    insert = (
        f"INSERT INTO taskq_jobs ({', '.join(row)}) VALUES ({', '.join(row.values())}) RETURNING id"
    )
    with to(app) as other:
        [[bad]] = other.execute(insert.encode()).fetchall()
        after = note.defer(text="ü")
        assert [job.id for job in app.job_manager.list_jobs()] == [before, bad, after]
        await app.run_worker_async(unknown_job_timeout=0)
        rows = other.execute("SELECT id, status::text FROM taskq_jobs ORDER BY id").fetchall()
    assert rows == [(before, "succeeded"), (bad, "failed"), (after, "succeeded")]
    assert app.job_manager.get_job(after).task_kwargs == {"text": "ü"}
    assert len(await app.job_manager.list_jobs_async()) == 3


def test_what_utf8_lacks_is_refused_at_the_door(make_database: MakeDatabase) -> None:
    with (
        to(make_database("WIN1252")) as other,
        pytest.raises(psycopg.errors.UntranslatableCharacter),
    ):
        other.execute(
            "SELECT taskq_defer_jobs(jsonb_build_array(jsonb_build_object('task_name', chr(129))))"
        )


def test_a_callers_connection_defers_whatever_its_encoding(
    app: App, database_url: str, connection: psycopg.Connection
) -> None:
    connection.execute("SET client_encoding = 'LATIN1'")
    task = app.configure_task("feed")
    ids = [task.configure(connection=connection).defer(pet="猫 é")]
    engine = create_engine(database_url, client_encoding="LATIN1")
    with engine.begin() as own:
        ids.append(task.configure(connection=own).defer(pet="猫 é"))
        with pytest.raises(InvalidDatabase, match="cannot be converted"):
            app.job_manager.on(own).list_jobs()
    engine.dispose()
    assert [job.task_kwargs["pet"] for job in app.job_manager.list_jobs(ids=ids)] == ["猫 é"] * 2


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    app = App(database_url)
    yield app
    app.close()


async def test_sql_ascii_is_refused(make_database: MakeDatabase) -> None:
    app = make_database("SQL_ASCII")
    with pytest.raises(InvalidDatabase, match="SQL_ASCII"):
        app.schema_manager.apply_schema()
    with pytest.raises(InvalidDatabase, match="SQL_ASCII"):
        await app.run_worker_async()
