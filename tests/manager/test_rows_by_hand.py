"""Rows that were written by hand: what cannot be read of one decides about it alone."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg2.extensions import new_type, register_type
from pydantic import JsonValue
from sqlalchemy import create_engine

from taskq import App, InvalidArguments, Job, JobNotFound, JobStatus, queries
from taskq.exceptions import InvalidResult, UnreadableValue
from taskq.unreadable import Unreadable
from tests.conftest import Spoil
from tests.manager.callers import (
    Caller,
    async_connection,
    async_psycopg_connection,
    async_session,
    asyncpg_session,
    psycopg2_session,
    psycopg_connection,
    session,
)
from tests.manager.callers import (
    connection as sync_connection,
)

NESTED = "[" * 250 + "]" * 250
HUGE = '{"n": 1e5000}'

# Of other drivers, which read by Python's own json; jsonb holds some thousands.
DEEP = "[" * 2_000 + "]" * 2_000


def reads_deep() -> bool:
    try:
        json.loads(DEEP)
    except RecursionError:
        return False
    return True


# A value of a column that Python cannot read, and the attribute that has its place.
UNREADABLE = [
    ("args", HUGE, "task_kwargs"),
    ("args", f'{{"n": {NESTED}}}', "task_kwargs"),
    ("result", "1e5000", "result"),
    ("result", NESTED, "result"),
    ("metadata", HUGE, "metadata"),
    ("metadata", "[1]", "metadata"),
    *(
        (column, value, column)
        for column in ("deferred_at", "scheduled_at", "started_at", "finished_at", "expires_at")
        for value in ("infinity", "-infinity", "0044-03-15 12:00:00 BC", "20000-01-01")
    ),
]


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:

        @app.task(name="work", store_result=True)
        def work(n: JsonValue = None) -> None: ...

        yield app


def is_spoilt(job: Job, attribute: str) -> bool:
    return list(job.unreadable) == [attribute] and isinstance(getattr(job, attribute), Unreadable)


@pytest.mark.parametrize(("column", "value", "attribute"), UNREADABLE)
async def test_a_row_is_read_and_says_what_cannot_be_read_of_it(
    app: App, spoil: Spoil, database_url: str, column: str, value: str, attribute: str
) -> None:
    manager = app.job_manager
    before, spoilt, after = (app.tasks["work"].defer(n=n) for n in range(3))
    spoil(spoilt, **{column: value})
    assert is_spoilt(manager.get_job(spoilt), attribute)
    assert is_spoilt(await manager.get_job_async(spoilt), attribute)
    listed = manager.list_jobs()
    assert [job.id for job in listed] == [before, spoilt, after]
    assert [bool(job.unreadable) for job in listed] == [False, True, False]
    assert [job.task_kwargs for job in listed if job.id != spoilt] == [{"n": 0}, {"n": 2}]
    # An engine of the caller's, which SQLAlchemy reads.
    engine = create_engine(database_url)
    with App(engine) as other:
        assert is_spoilt(other.job_manager.get_job(spoilt), attribute)
    engine.dispose()


@pytest.mark.parametrize(
    "connect",
    [
        sync_connection,
        session,
        psycopg_connection,
        async_connection,
        async_session,
        async_psycopg_connection,
    ],
    ids=lambda connect: connect.__name__,
)
@pytest.mark.parametrize(
    ("column", "value", "attribute"),
    [("args", HUGE, "task_kwargs"), ("deferred_at", "infinity", "deferred_at")],
)
async def test_so_it_is_on_a_connection_of_the_callers_which_keeps_its_own_ways(
    app: App,
    spoil: Spoil,
    database_url: str,
    connect: Callable[[str], AbstractAsyncContextManager[Any]],
    column: str,
    value: str,
    attribute: str,
) -> None:
    spoilt, fine = (app.tasks["work"].defer(n=n) for n in range(2))
    spoil(spoilt, **{column: value})
    async with connect(database_url) as opened:
        if "async" in connect.__name__:
            jobs = await app.job_manager.on(opened).list_jobs_async()
            driver = opened
            if not isinstance(opened, psycopg.AsyncConnection):
                bound = await opened.connection() if connect is async_session else opened
                driver = (await bound.get_raw_connection()).driver_connection
        else:
            jobs = app.job_manager.on(opened).list_jobs()
            driver = opened
            if not isinstance(opened, psycopg.Connection):
                bound = opened.connection() if connect is session else opened
                driver = bound.connection.driver_connection
        assert [job.id for job in jobs] == [spoilt, fine]
        assert is_spoilt(jobs[0], attribute)
        cursor = driver.cursor()
        read = cursor.execute("SELECT '[1.5]'::jsonb, 'infinity'::timestamptz")
        with pytest.raises(psycopg.DataError):
            assert (
                (await (await read).fetchone()) if "async" in connect.__name__ else read.fetchone()
            )


@asynccontextmanager
async def caller_of_another_driver(app: App, url: str, driver: str) -> AsyncIterator[Caller]:
    connect = psycopg2_session if driver == "psycopg2" else asyncpg_session
    async with connect(url) as opened:
        yield Caller(app, opened, is_async=driver == "asyncpg")


def told(job: Job) -> dict[str, str]:
    return {name: str(value) for name, value in job.unreadable.items()}


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
@pytest.mark.parametrize(
    ("column", "value", "attribute"),
    [
        ("args", HUGE, "task_kwargs"),
        pytest.param(
            *("result", DEEP, "result"),
            marks=pytest.mark.skipif(reads_deep(), reason="this Python reads all that jsonb holds"),
        ),
        ("metadata", HUGE, "metadata"),
        *(
            ("deferred_at", value, "deferred_at")
            for value in ("infinity", "-infinity", "0044-03-15 12:00:00 BC", "20000-01-01")
        ),
    ],
    ids=lambda value: value[:12],
)
async def test_another_driver_shows_what_psycopg_does_in_a_transaction_that_goes_on(
    app: App, spoil: Spoil, database_url: str, driver: str, column: str, value: str, attribute: str
) -> None:
    work = app.tasks["work"]
    before, spoilt, after = (work.defer(n=n) for n in range(3))
    spoil(spoilt, **{column: value})
    spoil(after, scheduled_at="9999-12-31")  # which Python can read
    shown = app.job_manager.list_jobs()
    async with caller_of_another_driver(app, database_url, driver) as caller:
        own = await caller.defer(work, n=3)
        listed = await caller.manage("list_jobs")
        assert [job.id for job in listed] == [before, spoilt, after, own]
        assert is_spoilt(listed[1], attribute)
        assert is_spoilt(await caller.manage("get_job", spoilt), attribute)
        assert told(listed[1]) == told(shown[1])
        assert [listed[0], listed[2]] == [shown[0], shown[2]]
        await caller.commit()
    assert app.job_manager.list_jobs()[3].task_kwargs == {"n": 3}


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
async def test_so_are_attempts_workers_and_stalled_jobs(
    app: App, spoil: Spoil, connection: psycopg.Connection, database_url: str, driver: str
) -> None:
    job_id = app.tasks["work"].defer()
    spoil(job_id, status="doing", started_at="-infinity", args=HUGE)
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, failed_at, error_type, error_message, error_traceback) "
        "VALUES (%s, 1, 1, 1, '20000-01-01', '', '', '')",
        [job_id],
    )
    connection.execute(
        "INSERT INTO taskq_workers (name, concurrency, started_at, last_heartbeat) "
        "VALUES ('w', 1, '20000-01-01', 'infinity')"
    )
    async with caller_of_another_driver(app, database_url, driver) as caller:
        (attempt,) = await caller.manage("list_failed_attempts", job_id)
        assert isinstance(attempt.failed_at, Unreadable)
        (worker,) = await caller.manage("list_workers")
        assert isinstance(worker.started_at, Unreadable)
        assert isinstance(worker.last_heartbeat, Unreadable)
        (stalled,) = await caller.manage("get_stalled_jobs")
        assert set(stalled.unreadable) == {"started_at", "task_kwargs"}


async def test_what_a_caller_has_set_on_another_driver_stays(
    app: App, spoil: Spoil, database_url: str
) -> None:
    spoilt, fine = (app.tasks["work"].defer(n=n) for n in range(2))
    spoil(spoilt, args=HUGE)
    shown = app.job_manager.get_job(fine)

    def as_text(value: str | None, cursor: object) -> str | None:
        return value and f"<{value}>"

    ask = "SELECT jsonb '[1]', timestamptz 'infinity'"
    async with caller_of_another_driver(app, database_url, "psycopg2") as caller:
        driver = caller.connection.connection().connection.driver_connection
        for oid in (3802, 1184):
            register_type(new_type((oid,), "own", as_text), driver)
        with pytest.raises(JobNotFound):
            await caller.manage("get_job", 0)
        assert is_spoilt((await caller.manage("list_jobs"))[0], "task_kwargs")
        assert (await caller.execute(ask)).one() == ("<[1]>", "<infinity>")
    async with caller_of_another_driver(app, database_url, "asyncpg") as caller:
        bound = await caller.connection.connection()
        driver = (await bound.get_raw_connection()).driver_connection
        await driver.set_type_codec(
            "timestamptz", schema="pg_catalog", encoder=str, decoder="<{}>".format, format="text"
        )
        with pytest.raises(JobNotFound):
            await caller.manage("get_job", 0)
        listed = await caller.manage("list_jobs")
        assert is_spoilt(listed[0], "task_kwargs")
        assert listed[1] == shown
        assert (await caller.execute(ask)).one() == ([1], "<infinity>")


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
async def test_what_another_driver_cannot_read_of_a_change_undoes_it(
    app: App, spoil: Spoil, database_url: str, driver: str
) -> None:
    job_id = app.tasks["work"].defer()
    spoil(job_id, args=HUGE)
    with app.database.engine.connect() as db:
        worker = queries.workers.register_worker(db, "w", None, 1)
    async with caller_of_another_driver(app, database_url, driver) as caller:
        with pytest.raises(
            UnreadableValue, match=f"^{driver} cannot read a value of a row .*psycopg"
        ):
            await caller.manage("fetch", worker.id)
        await caller.commit()
    assert app.job_manager.get_job_status(job_id) is JobStatus.TODO


def test_what_cannot_be_read_is_told_when_it_is_read(app: App, spoil: Spoil) -> None:
    work = app.tasks["work"]
    job_id = work.defer()
    spoil(job_id, status="succeeded", args=HUGE, result=NESTED)
    spoil(job_id, deferred_at="-infinity", finished_at="infinity")
    job = app.job_manager.get_job(job_id)
    assert list(job.unreadable) == ["task_kwargs", "result", "deferred_at", "finished_at"]
    with pytest.raises(
        UnreadableValue, match=r'the JSON \'{"n": 1000*…\' cannot be read: number out of'
    ):
        job.task_kwargs["n"]
    with pytest.raises(UnreadableValue):
        dict(job.task_kwargs)
    with pytest.raises(
        InvalidArguments, match="task 'work': its arguments cannot be read: number out"
    ):
        work.arguments.load(job.task_kwargs)
    with pytest.raises(InvalidResult, match="the result cannot be read: recursion limit exceeded"):
        work.result(job)
    assert str(job.finished_at).startswith("unreadable: infinity (")
    # It takes its place among the times that can be read, in whatever zone.
    assert job.finished_at is not None
    assert job.deferred_at.astimezone() < datetime.now(UTC) < job.finished_at.astimezone()


def test_a_tick_beyond_pythons_years_is_shown(
    app: App, connection: psycopg.Connection, unchecked: None
) -> None:
    connection.execute(
        "INSERT INTO taskq_periodic (task_name, periodic_id, last_tick) "
        "VALUES ('far', '', 9223372036854775807), ('long', '', -9223372036854775808), ('near', '', 0)"
    )
    with app.database.engine.connect() as db:
        schedules = {(name, ""): "* * * * * UTC" for name in ("far", "long", "near")}
        counts_after = queries.periodic.register_periodic(db, schedules)
    assert max(counts_after.values()) <= datetime.now(UTC).timestamp(), "a worker can start"
    ticks = app.job_manager.list_ticks()
    assert ticks["near", ""] == datetime(1970, 1, 1, tzinfo=UTC)
    assert ticks["long", ""] < ticks["near", ""] < ticks["far", ""]


def test_why_an_attempt_failed_is_shown_whenever_that_was(
    app: App, connection: psycopg.Connection, unchecked: None
) -> None:
    job_id = app.tasks["work"].defer()
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, failed_at, error_type, error_message, error_traceback) VALUES "
        "(%s, -2147483648, 1, 1, 'infinity', '', '', ''), (%s, 2147483647, 1, 1, now(), 'E', '', '')",
        [job_id, job_id],
    )
    far, near = app.job_manager.list_failed_attempts(job_id)
    assert isinstance(far.failed_at, Unreadable)
    assert not isinstance(near.failed_at, Unreadable)
    assert near.error_type == "E"
