"""Jobs that are deferred one by one at the same time share a statement, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

from taskq import App, queries
from taskq.exceptions import AlreadyEnqueued, DatabaseUnavailable, InvalidArguments
from taskq.job import NewJob
from taskq.manager.insert_batcher import LARGEST


class Statements:
    """The statements that defer jobs: how many jobs each has; the first one waits at a gate."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.under_way = asyncio.Event()
        self.gate = asyncio.Event()
        self.cut_off_after: int | None = None
        original = queries.job_insert.defer_jobs

        def defer_jobs(connection: Connection, new_jobs: Sequence[NewJob], **options: Any) -> Any:
            self.sizes.append(len(new_jobs))
            if len(self.sizes) == 1:
                self.under_way.set()
                await_only(self.gate.wait())
            ids = original(connection, new_jobs, **options)
            if len(self.sizes) == self.cut_off_after:
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            return ids

        monkeypatch.setattr(queries.job_insert, "defer_jobs", defer_jobs)


@pytest.fixture
async def statements(monkeypatch: pytest.MonkeyPatch) -> Statements:
    return Statements(monkeypatch)


@pytest.fixture
async def app(database_url: str, statements: Statements) -> AsyncIterator[App]:
    async with App(database_url) as app:

        @app.task(name="count")
        async def count(n: int) -> None: ...

        yield app


def stored(connection: psycopg.Connection) -> list[tuple[int, int]]:
    """Id and argument of each job."""
    query = "SELECT id, (args ->> 'n')::integer FROM taskq_jobs ORDER BY id"
    return connection.execute(query).fetchall()


async def while_one_is_under_way(
    app: App, statements: Statements, *calls: Any
) -> Sequence[int | list[int] | BaseException]:
    """What became of these calls, which came while a statement with job 0 was under way."""
    first = asyncio.create_task(app.tasks["count"].defer_async(n=0))
    async with asyncio.timeout(15):
        await statements.under_way.wait()
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    statements.gate.set()
    await first
    return list(await asyncio.gather(*tasks, return_exceptions=True))


async def test_calls_that_come_during_a_statement_go_out_together_in_the_order_they_came(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    count = app.tasks["count"]
    ids = await while_one_is_under_way(
        app,
        statements,
        *(count.defer_async(n=n) for n in range(1, 100)),
        count.batch_defer_async({"n": 100}, {"n": 101}),
    )
    assert statements.sizes == [1, 101]
    *single, several = ids
    assert isinstance(several, list)
    assert stored(connection)[1:] == [
        (id_, n) for n, id_ in enumerate([*single, *several], start=1)
    ]


async def test_a_statement_has_a_bound(app: App, statements: Statements) -> None:
    count = app.tasks["count"]
    calls = (count.defer_async(n=n) for n in range(LARGEST + 1))
    await while_one_is_under_way(app, statements, *calls)
    assert statements.sizes == [1, LARGEST, 1]


async def test_large_batches_go_alone(app: App, statements: Statements) -> None:
    count = app.tasks["count"]
    statements.gate.set()
    await asyncio.gather(*(count.batch_defer_async(*[{"n": 1}] * 101) for _ in range(3)))
    assert statements.sizes == [101] * 3


async def test_what_the_database_refuses_of_one_call_is_nothing_to_the_others(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$BEGIN RAISE 'no thirteen'; END$$;
        CREATE TRIGGER refuse BEFORE INSERT ON taskq_jobs FOR EACH ROW
        WHEN (NEW.args = '{"n": 13}') EXECUTE FUNCTION refuse();
        """
    )
    count = app.tasks["count"]
    first, thirteen, several, last, wrong = await while_one_is_under_way(
        app,
        statements,
        count.defer_async(n=1),
        count.defer_async(n=13),
        count.batch_defer_async({"n": 2}, {"n": 13}),
        count.defer_async(n=3),
        count.defer_async(n="no number"),
    )
    assert isinstance(thirteen, psycopg.errors.RaiseException)
    assert "no thirteen" in str(thirteen)
    assert isinstance(several, psycopg.errors.RaiseException)
    assert isinstance(wrong, InvalidArguments)
    assert stored(connection)[1:] == [(first, 1), (last, 3)]


async def test_what_may_have_been_written_is_not_sent_again(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    statements.cut_off_after = 2
    count = app.tasks["count"]
    ends = await while_one_is_under_way(
        app, statements, *(count.defer_async(n=n) for n in range(1, 4))
    )
    assert [type(end) for end in ends] == [DatabaseUnavailable] * 3
    assert [n for _, n in stored(connection)] == [0, 1, 2, 3]
    await count.defer_async(n=4)


async def test_a_call_that_is_cancelled_before_it_went_out_defers_nothing(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    count = app.tasks["count"]
    cancelled = asyncio.create_task(count.defer_async(n=1))

    async def cancel() -> None:
        cancelled.cancel()

    await while_one_is_under_way(app, statements, cancelled, cancel(), count.defer_async(n=2))
    assert [n for _, n in stored(connection)] == [0, 2]


async def test_a_call_that_is_cancelled_while_it_goes_out_leaves_the_others_alone(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    count = app.tasks["count"]
    first = asyncio.create_task(count.defer_async(n=0))
    await statements.under_way.wait()
    second = asyncio.create_task(count.defer_async(n=1))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == stored(connection)[-1][0]
    assert first.cancelled()


async def test_a_job_that_waits_for_its_queueing_lock_holds_up_no_other(
    app: App, statements: Statements, connection: psycopg.Connection
) -> None:
    statements.gate.set()
    count = app.tasks["count"]
    locked = count.configure(queueing_lock="one")
    with connection.transaction():
        connection.execute(
            'SELECT taskq_defer_jobs(\'[{"task_name": "count", "queueing_lock": "one"}]\')'
        )
        waiting = asyncio.create_task(locked.defer_async(n=1))
        await statements.under_way.wait()
        assert await asyncio.gather(*(count.defer_async(n=n) for n in range(3)))
        assert not waiting.done()
    with pytest.raises(AlreadyEnqueued):
        await waiting


def test_an_app_may_defer_in_one_event_loop_after_the_other(
    database_url: str, connection: psycopg.Connection
) -> None:
    app = App(database_url)
    deferrer = app.configure_task("count")

    async def defer() -> None:
        await asyncio.gather(*(deferrer.defer_async(n=1) for _ in range(3)))
        await app.close_async()

    asyncio.run(defer())
    asyncio.run(defer())
    assert len(stored(connection)) == 6
