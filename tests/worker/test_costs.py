"""What a job costs the server, where that does not depend on the machine: each with a bound.

On a server of its own, as WAL is counted for a whole server.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from taskq import App
from taskq.embedded import EmbeddedServer

JOBS = 5000


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="taskq-costs-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedServer(Path(folder) / "server") as started:
            with psycopg.connect(
                started.url.replace("+psycopg", ""), autocommit=True
            ) as connection:
                # It comes by every two seconds here, and what it writes is not the jobs'.
                connection.execute("ALTER SYSTEM SET autovacuum = off")
                connection.execute("SELECT pg_reload_conf()")
            yield started.url


@dataclass
class Cost:
    """What was counted, per job."""

    wal: float
    transactions: float
    statements: float


class Measured:
    """An app on a database of its own, with what it and its workers cost the server."""

    def __init__(self, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._server = server
        self._engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
        self.statements = 0
        execute = psycopg.AsyncCursor.execute

        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.statements += 1
            return await execute(*args, **kwargs)

        # Whether SQLAlchemy executes it, or the worker itself.
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
        self.app = App(self._engine)

        @self.app.task(name="noop")
        async def noop() -> None: ...

        self.noop = noop

    async def cost_of(self, work: Awaitable[object], jobs: int) -> Cost:
        """What some work costs, per job."""
        before, self.statements = self._counters(), 0
        await work
        statements = self.statements
        # Only when a session ends has it surely told what it did.
        await self._engine.dispose()
        wal, transactions = (now - then for now, then in zip(self._counters(), before, strict=True))
        return Cost(wal=wal / jobs, transactions=transactions / jobs, statements=statements / jobs)

    async def close(self) -> None:
        await self.app.close_async()
        await self._engine.dispose()

    def _counters(self) -> tuple[float, float]:
        with psycopg.connect(self._server.replace("+psycopg", ""), autocommit=True) as connection:
            # So that none has to be made in the middle, which writes whole pages again.
            connection.execute("CHECKPOINT")
            row = connection.execute(
                "SELECT pg_current_wal_insert_lsn() - '0/0', xact_commit"
                " FROM pg_stat_database WHERE datname = current_database()"
            ).fetchone()
        assert row
        return float(row[0]), float(row[1])


@pytest.fixture
async def measured(server: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Measured]:
    measured = Measured(server, monkeypatch)
    await measured.app.schema_manager.apply_schema_async()
    # Who first reads the catalog of a new schema writes whole pages of it, which are not the jobs'.
    await measured.noop.defer_async()
    await measured.app.run_worker_async(wait=False)
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_open_gates, taskq_failed_attempts")
    yield measured
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_open_gates, taskq_failed_attempts")
    await measured.close()


async def drain(measured: Measured) -> Cost:
    return await measured.cost_of(measured.app.run_worker_async(concurrency=100, wait=False), JOBS)


async def test_a_job_without_a_lock_keeps_within_its_budget(measured: Measured) -> None:
    async def defer() -> None:
        for _ in range(JOBS // 1000):
            await measured.noop.batch_defer_async(*[{}] * 1000)

    deferred = await measured.cost_of(defer(), JOBS)
    drained = await drain(measured)
    assert 0 < deferred.statements <= 0.01
    assert 0 < drained.statements <= 0.05
    assert deferred.transactions + drained.transactions <= 0.05
    assert deferred.wal + drained.wal <= 1200


async def test_jobs_with_a_lock_each_keep_within_their_budget(measured: Measured) -> None:
    jobs = [measured.noop.configure(lock=f"lock {n}").prepare() for n in range(JOBS)]
    deferred = await measured.cost_of(measured.app.job_manager.defer_jobs_async(jobs), JOBS)
    drained = await drain(measured)
    assert 0 < drained.statements <= 0.05
    assert deferred.transactions + drained.transactions <= 0.05
    # The lock is in two indexes, and in a row of its own until a claim has come to it.
    assert deferred.wal + drained.wal <= 1900


async def test_a_job_that_is_deferred_alone_is_one_statement_and_one_transaction(
    measured: Measured,
) -> None:
    async def defer() -> None:
        for _ in range(500):
            await measured.noop.defer_async()

    await measured.noop.defer_async()
    deferred = await measured.cost_of(defer(), 500)
    assert deferred.statements == 1
    assert 1 <= deferred.transactions <= 1.1
    assert deferred.wal <= 450


async def test_jobs_behind_one_another_are_claimed_and_ended_many_at_once(
    measured: Measured,
) -> None:
    await measured.noop.configure(lock="one").batch_defer_async(*[{}] * 300)
    drained = await measured.cost_of(measured.app.run_worker_async(concurrency=10, wait=False), 300)
    assert 0 < drained.statements <= 0.5
    assert drained.wal <= 1500


async def test_jobs_that_come_one_by_one_are_a_claim_an_end_and_a_look_each(
    measured: Measured,
) -> None:
    ended = asyncio.Event()

    @measured.app.task(name="end")
    async def end() -> None:
        ended.set()

    async def one_by_one() -> None:
        for _ in range(100):
            ended.clear()
            await end.defer_async()
            await ended.wait()
            # What follows the end, so that each finds the worker idle.
            await asyncio.sleep(0.01)

    worker = measured.app.worker(fetch_job_polling_interval=60)
    running = asyncio.create_task(worker.run())
    await end.defer_async()
    await ended.wait()
    measured.statements = 0
    await one_by_one()
    statements = measured.statements
    worker.stop()
    await running
    # The look is for jobs that left their notification to this one, and commit later.
    assert 300 <= statements <= 450


async def test_an_idle_worker_asks_only_as_often_as_its_intervals_say(measured: Measured) -> None:
    worker = measured.app.worker(
        fetch_job_polling_interval=0.25,
        abort_job_polling_interval=0.25,
        update_heartbeat_interval=0.25,
    )
    running = asyncio.create_task(worker.run())
    await asyncio.sleep(0.5)
    began, measured.statements = time.monotonic(), 0
    await asyncio.sleep(2)
    asked, turns = measured.statements, (time.monotonic() - began) / 0.25
    worker.stop()
    await running
    # A beat; the dead, locks freed by hand, and peers; a claim, jobs for later, and requests to abort.
    assert turns <= asked <= 7 * (turns + 1)


async def test_what_is_set_on_a_session_costs_one_statement_at_most(
    measured: Measured, server: str
) -> None:
    """And none for a server before 17, which takes it all as options."""
    async with App(server) as app:
        count = app.job_manager.count_jobs_async
        await count()
        measured.statements = 0
        await asyncio.gather(*(count() for _ in range(5)))
        opened = measured.statements
        await asyncio.gather(*(count() for _ in range(5)))
    assert 5 <= opened <= 5 + 4
    assert measured.statements - opened == 5


async def test_a_worker_that_starts_prepares_its_connections_and_asks_once(
    measured: Measured, server: str
) -> None:
    async with App(server) as app:
        await app.schema_manager.check_async()
        measured.statements = 0
        await app.run_worker_async(wait=False, install_signal_handlers=False)
    # Two for each of its connections, and what each is for; all of them are opened once.
    assert measured.statements <= 35
