"""Tests that run in a transaction which is rolled back: all of it is on that one connection."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from taskq.exceptions import InvalidDatabase
from taskq.pytest import jobs_on
from tests.pytest import shop
from tests.pytest.shop import send_mail, sent


@pytest.fixture
def connection(taskq_database_url: str) -> Iterator[Connection]:
    engine = create_engine(taskq_database_url)
    with engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        transaction.rollback()
        for table in ("taskq_jobs", "taskq_workers", "notes"):
            left = connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()
            assert left == 0, table
    engine.dispose()


@pytest.fixture
async def async_connection(taskq_database_url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(taskq_database_url)
    async with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        await transaction.rollback()
    await engine.dispose()


def test_jobs_are_deferred_and_run_in_the_transaction_of_the_test(connection: Connection) -> None:
    with jobs_on(shop.app, connection) as jobs:
        shop.welcome.defer(user="ada")
        shop.welcome_async.defer(user="bob")
        assert jobs.drain() == {"succeeded": 5}
        jobs.assert_deferred(send_mail, to="bob again")
        assert jobs.run(shop.double, number=4).result == 8
        assert jobs.run(shop.refuse, why="no").status == "todo"
        assert jobs.run(shop.refuse, why="no", attempt=3).status == "failed"
        assert jobs.drain(with_scheduled=True) == {"failed": 1, "succeeded": 1}
    assert sorted(sent) == ["ada", "ada later", "bob", "bob again"]


def test_time_moves_in_a_transaction_whose_own_time_stands_still(connection: Connection) -> None:
    now = connection.exec_driver_sql("SELECT now()").scalar()
    assert now is not None
    later = now + timedelta(days=1)
    with jobs_on(shop.app, connection) as jobs:
        send_mail.configure(schedule_at=later).defer(to="then")
        send_mail.configure(schedule_at=later + timedelta(microseconds=1)).defer(to="after")
        for number in range(3):
            shop.call.defer(number=number)
        assert jobs.drain(until=timedelta(minutes=15)) == {"succeeded": 2}
        assert jobs.drain(until=later) == {"succeeded": 2}
        [then, after] = jobs.deferred(send_mail)
        assert (then.started_at, after.started_at) == (later, None)
    assert sent == ["0", "1", "2", "then"]


def test_sessions_that_commit_are_savepoints_in_it(connection: Connection) -> None:
    with (
        Session(connection, join_transaction_mode="create_savepoint") as session,
        jobs_on(shop.app, session) as jobs,
    ):
        session.execute(text("INSERT INTO notes VALUES ('an order')"))
        send_mail.configure(connection=session).defer(to="ada")
        session.commit()
        send_mail.configure(connection=session).defer(to="nobody")
        session.rollback()
        assert jobs.drain() == {"succeeded": 1}
        assert session.execute(text("SELECT what FROM notes")).scalars().all() == ["an order"]
    assert sent == ["ada"]


def test_the_transaction_of_a_task_is_a_savepoint_in_it(connection: Connection) -> None:
    with jobs_on(shop.app, connection) as jobs:
        assert jobs.run(shop.note, what="kept").status == "succeeded"
        assert jobs.run(shop.note, what="lost", fail=True).status == "failed"
        assert connection.exec_driver_sql("SELECT what FROM notes").scalars().all() == ["kept"]
        ran = jobs.run(shop.note_async, what="never")
        assert ran.status == "failed"
        assert "an async task needs an AsyncConnection" in str(ran.error)


async def test_an_async_connection_carries_them_as_well(async_connection: AsyncConnection) -> None:
    with jobs_on(shop.app, async_connection) as jobs:
        # A sync task, in a thread, defers on it too.
        await shop.welcome.defer_async(user="ada")
        await shop.publish_async.defer_async(user="bob")
        assert await jobs.drain_async(with_scheduled=True) == {"succeeded": 5}
        assert (await jobs.run_async(shop.note_async, what="kept")).status == "succeeded"
        lost = await jobs.run_async(shop.note_async, what="lost", fail=True)
        assert lost.status == "failed"
        notes = await async_connection.exec_driver_sql("SELECT what FROM notes")
        assert notes.scalars().all() == ["kept"]
        with pytest.raises(InvalidDatabase, match="await the async method"):
            send_mail.defer(to="nobody")


async def test_so_does_an_async_session(async_connection: AsyncConnection) -> None:
    session = AsyncSession(async_connection, join_transaction_mode="create_savepoint")
    async with session:
        with jobs_on(shop.app, session) as jobs:
            await send_mail.configure(connection=session).defer_async(to="ada")
            await session.commit()
            assert await jobs.drain_async() == {"succeeded": 1}
            assert (await jobs.run_async(shop.note_async, what="kept")).status == "succeeded"


def test_so_does_a_connection_of_psycopg(taskq_database_url: str) -> None:
    with (
        psycopg.connect(taskq_database_url.replace("+psycopg", "", 1)) as connection,
        connection.transaction(force_rollback=True),
        jobs_on(shop.app, connection) as jobs,
    ):
        shop.welcome.defer(user="ada")
        assert jobs.drain(with_scheduled=True) == {"succeeded": 3}
        ran = jobs.run(shop.note, what="never")
        assert "a sync task needs a Connection or a Session" in str(ran.error)


def test_no_worker_runs_on_it(connection: Connection) -> None:
    with jobs_on(shop.app, connection), pytest.raises(InvalidDatabase, match=r"jobs\.drain\(\)"):
        shop.app.run_worker(wait=False)
    with pytest.raises(InvalidDatabase, match="cannot carry this"), jobs_on(shop.app, object()):
        pass


def test_the_app_is_where_it_was_afterwards(connection: Connection) -> None:
    before = repr(shop.app)
    with pytest.raises(ZeroDivisionError), jobs_on(shop.app, connection):
        raise ZeroDivisionError
    assert repr(shop.app) == before


class TestInTheFixtures:
    """The fixtures of the plugin, on a connection that a fixture of the suite names."""

    @pytest.fixture
    def taskq_connection(self, connection: Connection) -> Connection:
        return connection

    def test_jobs_are_on_it(self, jobs: object, connection: Connection) -> None:
        send_mail.defer(to="ada")
        found = connection.exec_driver_sql("SELECT count(*) FROM taskq_jobs").scalar()
        assert found == 1
