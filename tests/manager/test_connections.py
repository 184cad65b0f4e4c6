"""Jobs in the caller's own transaction, whatever the caller's connection is made of."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader
from sqlalchemy import create_engine, text

from taskq import App, JobStatus
from taskq.database import bridges
from taskq.database import executor as connections
from taskq.exceptions import (
    AlreadyEnqueued,
    DatabaseUnavailable,
    InvalidDatabase,
    JobNotFound,
    SchemaNotApplied,
)
from taskq.manager import Outcome
from taskq.queries.connection import Connection
from taskq.task import Task
from tests.manager.callers import ASYNC, SYNC, Caller, Connect, libpq


@pytest.fixture(params=[*SYNC, *ASYNC], ids=lambda connect: connect.__name__)
async def caller(
    request: pytest.FixtureRequest, app: App, database_url: str
) -> AsyncIterator[Caller]:
    async with request.param(database_url) as opened:
        yield Caller(app, opened, request.param in ASYNC)


async def test_a_job_appears_at_commit_and_its_queue_is_notified_then(
    app: App, send: Task[..., Any], caller: Caller, database_url: str
) -> None:
    with psycopg.connect(libpq(database_url), autocommit=True) as listener:
        listener.execute("SELECT taskq_listen()")
        id_ = await caller.defer(send, to="ada")
        assert app.job_manager.count_jobs() == {}
        assert list(listener.notifies(timeout=0)) == []
        await caller.commit()
        assert app.job_manager.count_jobs() == {("default", "send", JobStatus.TODO): 1}
        [notify] = listener.notifies(timeout=10, stop_after=1)
    assert notify.payload.startswith("ready ")
    assert notify.payload.endswith(" default")
    assert id_ is not None
    assert app.job_manager.get_job(id_).task_kwargs == {"to": "ada"}


async def test_a_job_never_appears_after_a_rollback(
    app: App, send: Task[..., Any], caller: Caller, database_url: str
) -> None:
    with psycopg.connect(libpq(database_url), autocommit=True) as listener:
        listener.execute("SELECT taskq_listen()")
        id_ = await caller.defer(send, to="ada")
        assert (await caller.manage("get_job", id_)).task_kwargs == {"to": "ada"}
        await caller.rollback()
        # The mark would come after whatever was notified before.
        listener.execute("SELECT pg_notify(taskq_channel(), 'mark')")
        [notify] = listener.notifies(timeout=10, stop_after=1)
    assert notify.payload == "mark"
    assert app.job_manager.count_jobs() == {}


async def test_the_jobs_of_a_transaction_are_seen_and_cancelled_in_it(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    kept = app.configure_task("kept").defer()
    id_ = await caller.defer(send, to="ada")
    assert (await caller.manage("get_job", id_)).id == id_
    assert await caller.manage("get_job_status", id_) is JobStatus.TODO
    assert await caller.manage("cancel_job_by_id", id_) is True
    assert await caller.manage("cancel_job_by_id", kept) is True
    assert await caller.manage("get_job_status", id_) is JobStatus.CANCELLED
    assert await caller.manage("list_failed_attempts", id_) == []
    assert [job.id for job in await caller.manage("list_jobs", ids=[id_, kept])] == [kept, id_]
    assert await caller.manage("list_alive_jobs", [id_, kept]) == []
    with pytest.raises(JobNotFound):
        await caller.manage("get_job", 2**62)
    assert app.job_manager.get_job_status(kept) is JobStatus.TODO, "as no other session sees it yet"
    await caller.rollback()
    assert app.job_manager.get_job_status(kept) is JobStatus.TODO


async def test_whatever_an_operator_does_is_in_the_transaction(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    kept = app.configure_task("kept", lock="l").defer()
    now = datetime.now(UTC)
    since = now - timedelta(days=1)
    every_filter: dict[str, Any] = {
        "ids": [kept],
        "queue": "default",
        "task": "kept",
        "status": ["todo", "doing"],
        "lock": "l",
        "deferred_after": since,
        "task_kwargs": {},
    }
    assert [job.id for job in await caller.manage("list_jobs", **every_filter)] == [kept]
    assert len(await caller.manage("list_jobs", status="todo", newest_first=True)) == 1
    counts = {("default", "kept", JobStatus.TODO): 1}
    assert await caller.manage("count_jobs") == counts
    assert await caller.manage("count_jobs", **every_filter) == counts
    assert [tally.name for tally in await caller.manage("list_queues")] == ["default"]
    assert [state.lock for state in await caller.manage("list_locks")] == ["l"]
    assert await caller.manage("list_workers") == []
    assert await caller.manage("get_stalled_jobs") == []
    await caller.manage("reschedule_job", kept, schedule_at=now + timedelta(days=1), priority=2)
    assert await caller.manage("cancel_jobs", lock="l") == 1
    finished: dict[str, Any] = {"finished_after": since, "finished_before": now + timedelta(days=1)}
    assert len(await caller.manage("list_jobs", status="cancelled", **finished)) == 1
    await caller.manage("retry_job_by_id", kept, retry_at=now, queue="mail")
    assert [job.id for job in await caller.manage("fetch", 1, ["mail"])] == [kept]
    outcome = Outcome(job_id=kept, claim=1, status=JobStatus.FAILED, held_lock="l")
    assert len(await caller.manage("finish", 1, [outcome])) == 1
    assert await caller.manage("retry_jobs", status="failed", retry_at=now) == 1
    assert await caller.manage("cancel_jobs", task="kept") == 1
    # By the clock of the transaction, nothing in it is older than itself.
    assert await caller.manage("delete_old_jobs", timedelta(0), include_cancelled=True) == 0
    assert await caller.manage("delete_jobs", queue="mail") == 1
    assert app.job_manager.get_job(kept).priority == 0, "as no other session sees it yet"
    await caller.rollback()
    assert app.job_manager.get_job_status(kept) is JobStatus.TODO


async def test_a_taken_queueing_lock_is_told_in_the_transaction_too(
    send: Task[..., Any], caller: Caller
) -> None:
    id_ = await caller.defer(send, to="ada")
    assert await caller.defer(send.configure(on_conflict="skip"), to="bob") is None
    await caller.commit()
    with pytest.raises(AlreadyEnqueued) as refused:
        await caller.defer(send, to="bob")
    assert refused.value.job_id == id_
    await caller.rollback()
    assert isinstance(await caller.defer(send.configure(queueing_lock=None), to="bob"), int)


async def test_a_job_is_replaced_in_the_callers_transaction(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    id_ = send.defer(to="ada")
    replacing = send.configure(on_conflict="replace")
    assert await caller.defer(replacing, to="bob") == id_
    await caller.rollback()
    assert app.job_manager.get_job(id_).task_kwargs == {"to": "ada"}
    assert await caller.defer(replacing, to="cy") == id_
    await caller.commit()
    assert app.job_manager.get_job(id_).task_kwargs == {"to": "cy"}


async def test_the_callers_own_statements_are_in_the_same_transaction(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    await caller.execute("CREATE TABLE orders ()")
    await caller.defer(send, to="ada")
    await caller.execute("INSERT INTO orders DEFAULT VALUES")
    await caller.rollback()
    assert app.job_manager.count_jobs() == {}
    await caller.execute("CREATE TABLE orders ()")


async def test_what_the_database_refuses_is_told_whatever_the_callers_driver(
    caller: Caller,
) -> None:
    """A schema that is missing, as an error that PostgreSQL itself raises."""
    await caller.execute("SET search_path TO pg_temp")
    with pytest.raises(SchemaNotApplied, match=r"taskq_jobs.*python -m taskq schema apply"):
        await caller.manage("get_job", 1)


@pytest.mark.parametrize("connect", SYNC, ids=lambda connect: connect.__name__)
async def test_a_sync_connection_is_refused_by_an_async_method(
    app: App, send: Task[..., Any], connect: Connect, database_url: str
) -> None:
    async with connect(database_url) as opened:
        expected = f"a {type(opened).__name__} cannot carry this: give an AsyncConnection, .* sync"
        with pytest.raises(InvalidDatabase, match=expected):
            await send.configure(connection=opened).defer_async(to="ada")
        with pytest.raises(InvalidDatabase, match=expected):
            await app.job_manager.on(opened).get_job_async(1)


@pytest.mark.parametrize("connect", ASYNC, ids=lambda connect: connect.__name__)
async def test_an_async_connection_is_refused_by_a_sync_method(
    app: App, send: Task[..., Any], connect: Connect, database_url: str
) -> None:
    async with connect(database_url) as opened:
        expected = f"a {type(opened).__name__} cannot carry this: give a Connection, .* async"
        with pytest.raises(InvalidDatabase, match=expected):
            send.configure(connection=opened).defer(to="ada")
        with pytest.raises(InvalidDatabase, match=expected):
            app.job_manager.on(opened).get_job(1)


async def test_what_is_no_connection_is_refused(send: Task[..., Any]) -> None:
    unfit: Any
    for unfit in ("postgresql://", create_engine("postgresql+psycopg://"), object()):
        with pytest.raises(InvalidDatabase, match=f"a {type(unfit).__name__} cannot carry this"):
            send.configure(connection=unfit).defer(to="ada")
        with pytest.raises(InvalidDatabase, match=f"a {type(unfit).__name__} cannot carry this"):
            await send.configure(connection=unfit).defer_async(to="ada")


def test_no_manager_is_made_on_what_is_no_connection(app: App) -> None:
    unfit: Any
    for unfit in (None, "postgresql://", create_engine("postgresql+psycopg://"), object()):
        expected = f"a {type(unfit).__name__} cannot carry this: .*, or for the async methods"
        with pytest.raises(InvalidDatabase, match=expected):
            app.job_manager.on(unfit)


async def test_a_manager_on_a_connection_goes_from_one_transaction_to_the_next(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    jobs: Any = app.job_manager.on(caller.connection)
    await caller.defer(send, to="ada")
    listed = jobs.list_jobs_async() if caller.is_async else jobs.list_jobs()
    assert len(await listed if caller.is_async else listed) == 1
    assert not app.job_manager.list_jobs(), "as the app's own stays on its database"
    await caller.rollback()
    listed = jobs.list_jobs_async() if caller.is_async else jobs.list_jobs()
    assert not (await listed if caller.is_async else listed)


@pytest.mark.parametrize("autocommit", [False, True])
async def test_a_psycopg_connection_keeps_its_settings(
    app: App, send: Task[..., Any], database_url: str, autocommit: bool
) -> None:
    url = libpq(database_url)
    sync_one = psycopg.connect(
        url, autocommit=autocommit, row_factory=dict_row, cursor_factory=psycopg.RawCursor
    )
    async_one = await psycopg.AsyncConnection.connect(
        url, autocommit=autocommit, row_factory=dict_row, cursor_factory=psycopg.AsyncRawCursor
    )
    deferrer = send.configure(queueing_lock=None)
    with sync_one:
        deferrer.configure(connection=sync_one).defer(to="ada")
        assert sync_one.autocommit is autocommit
        assert sync_one.row_factory is dict_row
        assert sync_one.cursor_factory is psycopg.RawCursor
        in_transaction = sync_one.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE
        assert in_transaction is not autocommit
        assert sync_one.execute("SELECT $1::int AS one", [1]).fetchone() == {"one": 1}
    async with async_one:
        await deferrer.configure(connection=async_one).defer_async(to="ada")
        assert async_one.autocommit is autocommit
        assert async_one.row_factory is dict_row
        cursor = await async_one.execute("SELECT $1::int AS one", [1])
        assert await cursor.fetchone() == {"one": 1}
    assert app.job_manager.count_jobs() == {("default", "send", JobStatus.TODO): 2}


async def test_a_psycopg_connection_may_read_json_in_its_own_way(
    app: App, send: Task[..., Any], database_url: str
) -> None:
    """As Django's connections do, which leave it to Django."""
    url = libpq(database_url)
    sync_one, async_one = psycopg.connect(url), await psycopg.AsyncConnection.connect(url)
    for opened in (sync_one, async_one):
        opened.adapters.register_loader("jsonb", TextLoader)
    id_ = send.defer(to="ada")
    with sync_one:
        assert app.job_manager.on(sync_one).get_job(id_).task_kwargs == {"to": "ada"}
        assert sync_one.execute("SELECT '{}'::jsonb").fetchone() == ("{}",)
    async with async_one:
        job = await app.job_manager.on(async_one).get_job_async(id_)
        assert job.task_kwargs == {"to": "ada"}


async def test_an_open_transaction_holds_up_no_other_deferring(
    app: App, send: Task[..., Any], caller: Caller
) -> None:
    await caller.defer(send, to="ada")
    other = send.configure(queueing_lock="other")
    async with asyncio.timeout(10):
        assert await other.defer_async(to="bob")


async def test_a_closed_connection_is_said_to_be_closed(
    send: Task[..., Any], database_url: str
) -> None:
    closed = psycopg.connect(libpq(database_url))
    closed.close()
    with pytest.raises(DatabaseUnavailable, match="the connection is closed"):
        send.configure(connection=closed).defer(to="ada")


def test_a_querier_runs_on_sqlalchemys_connection_as_on_a_bridge(database_url: str) -> None:
    engine = create_engine(database_url)
    with engine.connect() as connection, psycopg.connect(libpq(database_url)) as opened:
        executors: list[Connection] = [connection, bridges.bridge(opened)]
        for executor in executors:
            rows = executor.execute(text("SELECT :p1\\:\\:text, 1"), {"p1": "one"})
            assert [tuple(row) for row in rows] == [("one", 1)]
            assert executor.execute(text("SELECT 1 WHERE false")).first() is None
    engine.dispose()


def test_a_statement_is_compiled_once_by_whatever_object_it_comes(database_url: str) -> None:
    # sqlc-gen-python calls text() at each execution.
    def answer(on: Connection) -> object:
        return on.execute(text("SELECT 'compiled once'")).first()

    with psycopg.connect(libpq(database_url)) as opened:
        assert connections.run(opened, answer) == ("compiled once",)
        before = bridges._compiled.cache_info()
        assert connections.run(opened, answer) == ("compiled once",)
        assert bridges._compiled.cache_info().currsize == before.currsize
    assert before.maxsize is not None
