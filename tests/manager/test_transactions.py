"""A caller's transaction, which is as it was if something of taskq's fails in it."""

from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from taskq import App, JobStatus
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidDatabase,
    InvalidJob,
    InvalidTransition,
    JobNotFound,
    SchemaNotApplied,
)
from taskq.job import NewJob
from taskq.task import Task
from tests.manager.callers import ASYNC, SYNC, Caller, libpq


@pytest.fixture(params=[*SYNC, *ASYNC], ids=lambda connect: connect.__name__)
async def caller(
    request: pytest.FixtureRequest, app: App, database_url: str
) -> AsyncIterator[Caller]:
    with psycopg.connect(libpq(database_url), autocommit=True) as own:
        own.execute("CREATE TABLE orders (id bigint)")
    async with request.param(database_url) as opened:
        yield Caller(app, opened, request.param in ASYNC)


def orders(database_url: str) -> list[int]:
    with psycopg.connect(libpq(database_url)) as own:
        return [id_ for (id_,) in own.execute("SELECT id FROM orders ORDER BY id")]


async def test_what_the_caller_did_is_committed_after_an_error_that_was_caught(
    app: App, send: Task[..., Any], caller: Caller, database_url: str
) -> None:
    waiting = send.defer(to="ada")
    await caller.execute("INSERT INTO orders VALUES (1)")
    with pytest.raises(AlreadyEnqueued):
        await caller.defer(send, to="bob")
    await caller.execute("INSERT INTO orders VALUES (2)")
    with pytest.raises(InvalidJob):
        # Past the checks in Python, as a newer schema may refuse what they let through.
        await caller.manage("defer_jobs", [NewJob.model_construct(task_name="", args={})])
    with pytest.raises(JobNotFound):
        await caller.manage("get_job", 2**62)
    with pytest.raises((JobNotFound, DBAPIError)):  # asyncpg refuses by itself to send it
        await caller.manage("cancel_job_by_id", 2**70)
    with pytest.raises(InvalidTransition):
        await caller.manage("retry_job_by_id", waiting)
    await caller.execute("SET LOCAL search_path TO pg_temp")
    with pytest.raises(SchemaNotApplied):
        await caller.manage("list_jobs")
    await caller.execute("SET LOCAL search_path TO public")
    await caller.execute("SET LOCAL lock_timeout TO '20ms'")
    with psycopg.connect(libpq(database_url)) as other:
        other.execute("LOCK taskq_workers")
        with pytest.raises((DBAPIError, psycopg.errors.LockNotAvailable)):
            await caller.manage("list_workers")
    await caller.execute("INSERT INTO orders VALUES (3)")
    kept = await caller.defer(send.configure(queueing_lock=None), to="cy")
    await caller.commit()
    assert orders(database_url) == [1, 2, 3]
    assert [job.id for job in app.job_manager.list_jobs()] == [waiting, kept]


async def test_a_transaction_that_failed_before_takes_nothing_and_says_so(
    send: Task[..., Any], caller: Caller
) -> None:
    with pytest.raises((DBAPIError, psycopg.Error)):
        await caller.execute("SELECT 1 / 0")
    with pytest.raises(InvalidDatabase, match=r"failed before.*: roll it back first"):
        await caller.defer(send, to="ada")
    await caller.rollback()
    assert isinstance(await caller.defer(send, to="ada"), int)


async def test_an_error_leaves_a_psycopg_connection_without_a_transaction_as_it_was(
    send: Task[..., Any], app: App, database_url: str
) -> None:
    with psycopg.connect(libpq(database_url)) as sync_one:
        with pytest.raises(JobNotFound):
            app.job_manager.on(sync_one).get_job(1)
        assert status_of(sync_one) is TransactionStatus.IDLE
        send.configure(connection=sync_one).defer(to="ada")
        assert status_of(sync_one) is TransactionStatus.INTRANS
    async with await psycopg.AsyncConnection.connect(libpq(database_url)) as async_one:
        with pytest.raises(JobNotFound):
            await app.job_manager.on(async_one).get_job_async(2**62)
        assert status_of(async_one) is TransactionStatus.IDLE


def status_of(
    connection: psycopg.Connection | psycopg.AsyncConnection,
) -> TransactionStatus:
    return connection.info.transaction_status


class Base(DeclarativeBase): ...


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    amount: Mapped[int]


async def test_a_sessions_objects_know_nothing_of_the_savepoint(
    send: Task[..., Any], app: App, database_url: str
) -> None:
    engine = create_engine(database_url)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Order(id=1, amount=1))
        session.commit()
    send.defer(to="ada")
    heard: list[str] = []
    with Session(engine) as session:
        for name in (
            "before_flush",
            "after_soft_rollback",
            "after_rollback",
            "after_transaction_end",
        ):
            event.listen(session, name, lambda *_, name=name: heard.append(name))
        order = session.get_one(Order, 1)
        order.amount = 2
        session.add(new := Order(id=2, amount=2))
        with pytest.raises(AlreadyEnqueued):
            send.configure(connection=session).defer(to="bob")
        assert heard == []
        assert order in session.dirty
        assert new in session.new
        with session.begin_nested() as nested:
            session.add(Order(id=3, amount=3))
            session.flush()
            with pytest.raises(AlreadyEnqueued):
                send.configure(connection=session).defer(to="bob")
            send.configure(connection=session, queueing_lock="inner").defer(to="bob")
            nested.rollback()
        send.configure(connection=session, queueing_lock="outer").defer(to="cy")
        session.commit()
    with Session(engine) as session:
        assert session.execute(text("SELECT id, amount FROM orders ORDER BY id")).all() == [
            (1, 2),
            (2, 2),
        ]
    engine.dispose()
    assert [job.queueing_lock for job in app.job_manager.list_jobs()] == ["q", "outer"]


async def test_a_connection_in_autocommit_on_purpose_has_no_savepoint(
    send: Task[..., Any], app: App, database_url: str
) -> None:
    engine = create_engine(database_url, isolation_level="AUTOCOMMIT")
    statements: list[str] = []
    event.listen(engine, "savepoint", lambda *_: statements.append("savepoint"))
    with engine.connect() as connection:
        id_ = send.configure(connection=connection).defer(to="ada")
        with pytest.raises(AlreadyEnqueued):
            send.configure(connection=connection).defer(to="ada")
        connection.rollback()
    engine.dispose()
    assert statements == []
    assert app.job_manager.get_job_status(id_) is JobStatus.TODO


async def test_the_apps_own_engine_in_autocommit_carries_no_callers_transaction(
    send: Task[..., Any], app: App, database_url: str
) -> None:
    given = create_engine(database_url)
    for own in (app, App(given)):
        task = own.configure_task("other")
        engine, async_engine = own.database.engine, own.database.async_engine
        expected = "the app's own engine, which is in autocommit: .*READ COMMITTED"
        with Session(engine) as session, pytest.raises(InvalidDatabase, match=expected):
            task.configure(connection=session).defer()
        with engine.begin() as connection, pytest.raises(InvalidDatabase, match=expected):
            own.job_manager.on(connection)
        async with async_engine.connect() as async_connection:
            with pytest.raises(InvalidDatabase, match=expected):
                own.job_manager.on(async_connection)
        with Session(engine) as session, pytest.raises(InvalidDatabase, match=expected):
            own.job_manager.on(session).list_jobs()
        async with AsyncSession(async_engine) as async_session:
            with pytest.raises(InvalidDatabase, match=expected):
                await task.configure(connection=async_session).defer_async()
        # As its message says; afterwards it is in autocommit as before.
        made = engine.execution_options(isolation_level="READ COMMITTED")
        with Session(given if own is not app else made) as session:
            task.configure(connection=session).defer()
            session.rollback()
        async_made = async_engine.execution_options(isolation_level="READ COMMITTED")
        async with AsyncSession(async_made) as async_session:
            await task.configure(connection=async_session).defer_async()
            await async_session.rollback()
        with Session(engine) as session, pytest.raises(InvalidDatabase, match=expected):
            task.configure(connection=session).defer()
        await own.close_async()
    assert not app.job_manager.list_jobs()
    given.dispose()


@pytest.mark.parametrize("autocommit", [False, True])
async def test_a_connection_in_a_pipeline_is_refused_before_anything_is_sent(
    send: Task[..., Any], app: App, database_url: str, autocommit: bool
) -> None:
    url = libpq(database_url)
    waiting = app.configure_task("other").defer()
    expected = r"in a pipeline\(\)"
    with psycopg.connect(url, autocommit=autocommit) as sync_one:
        jobs = app.job_manager.on(sync_one)
        with sync_one.pipeline():
            for refused in (
                lambda: send.configure(connection=sync_one).defer(to="ada"),
                lambda: jobs.cancel_job_by_id(waiting),
                jobs.list_jobs,
                lambda: app.job_manager.on(sync_one),
            ):
                with pytest.raises(InvalidDatabase, match=expected):
                    refused()
        assert send.configure(connection=sync_one).defer(to="ada") == waiting + 1
        sync_one.rollback()
    async_one = await psycopg.AsyncConnection.connect(url, autocommit=autocommit)
    async with async_one, async_one.pipeline():
        with pytest.raises(InvalidDatabase, match=expected):
            await send.configure(connection=async_one).defer_async(to="ada")
        with pytest.raises(InvalidDatabase, match=expected):
            app.job_manager.on(async_one)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        with driver.pipeline(), pytest.raises(InvalidDatabase, match=expected):
            app.job_manager.on(connection)
    engine.dispose()
    assert app.job_manager.get_job_status(waiting) is JobStatus.TODO
    assert len(app.job_manager.list_jobs()) == (2 if autocommit else 1)
