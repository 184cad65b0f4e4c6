"""What a job costs the server, where that does not depend on the machine: each with a bound.

On a server of its own, as WAL is counted for a whole server.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine

from taskq import App
from taskq.embedded import EmbeddedServer

JOBS = 5000


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="taskq-costs-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedServer(Path(folder) / "server") as started:
            yield started.url


@dataclass
class Cost:
    """What was counted, per job."""

    wal: float
    transactions: float
    statements: float


async def cost_of(server: str, **options: Any) -> tuple[Cost, Cost]:
    """Defer jobs in batches of 1,000, and drain them with concurrency 100: what each of it costs."""
    engine = create_async_engine(server, isolation_level="AUTOCOMMIT")
    statements = 0

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def count(*_: object) -> None:
        nonlocal statements
        statements += 1

    app = App(engine)

    @app.task(name="noop")
    async def noop() -> None: ...

    await app.schema_manager.apply_schema_async()
    deferrer = noop.configure(**options)
    counts = []
    for work in ("defer", "drain"):
        before, statements = counters(server), 0
        if work == "defer":
            for _ in range(JOBS // 1000):
                await deferrer.batch_defer_async(*[{}] * 1000)
        else:
            await app.run_worker_async(concurrency=100, wait=False)
        sent = statements
        # Only when a session ends has it surely told what it did.
        await engine.dispose()
        after = counters(server)
        counts.append(
            Cost(
                wal=(after[0] - before[0]) / JOBS,
                transactions=(after[1] - before[1]) / JOBS,
                statements=sent / JOBS,
            )
        )
    await app.close_async()
    return counts[0], counts[1]


def counters(server: str) -> tuple[float, float]:
    with psycopg.connect(server.replace("+psycopg", ""), autocommit=True) as connection:
        row = connection.execute(
            "SELECT pg_current_wal_insert_lsn() - '0/0', xact_commit"
            " FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row
    return float(row[0]), float(row[1])


async def test_a_job_without_a_lock_keeps_within_its_budget(server: str) -> None:
    deferred, drained = await cost_of(server)
    assert deferred.statements <= 0.01
    assert drained.statements <= 0.05
    assert deferred.transactions + drained.transactions <= 0.05
    assert deferred.wal + drained.wal <= 1200
