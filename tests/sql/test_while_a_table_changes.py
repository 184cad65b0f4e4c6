"""Statements that begin while a migration has the table of jobs, and go on once it is committed."""

import json
from collections.abc import Callable

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.conftest import Connect, Ids, waiting_for
from tests.sql.sqlc import Query, Row

Statement = Callable[[dict[str, Query], psycopg.Connection], list[Row]]


def claim(queries: dict[str, Query], connection: psycopg.Connection) -> list[Row]:
    return sqlc.claim(connection, max_jobs=1, queue_names=["default"])


def finish(queries: dict[str, Query], connection: psycopg.Connection) -> list[Row]:
    outcomes = [{"job_id": 1, "claim": 1, "status": "succeeded"}]
    return queries["FinishJobs"].run(connection, worker_id=1, outcomes=json.dumps(outcomes))


def defer(queries: dict[str, Query], connection: psycopg.Connection) -> list[Row]:
    return queries["DeferJobs"].run(
        connection,
        on_conflict="replace",
        share_notification=False,
        numbers_checked=False,
        jobs=json.dumps([{"task_name": "noop", "queueing_lock": "one", "lock": "one"}]),
    )


def promote(queries: dict[str, Query], connection: psycopg.Connection) -> list[Row]:
    return queries["PromoteJobs"].run(connection, max_jobs=10)


def rescue(queries: dict[str, Query], connection: psycopg.Connection) -> list[Row]:
    return queries["RescueJobs"].run(connection, stalled_after=60.0, max_crashes=3)


@pytest.mark.parametrize("change", ["ADD COLUMN added text", "DROP COLUMN dropped"])
@pytest.mark.parametrize("statement", [claim, finish, defer, promote, rescue])
def test_it_waits_and_then_does_its_work(
    change: str,
    statement: Statement,
    connect: Connect,
    connection: psycopg.Connection,
    queries: dict[str, Query],
    defer: Ids,
    claim: Ids,
) -> None:
    connection.execute("ALTER TABLE taskq_jobs ADD COLUMN dropped text")
    defer(*[{"priority": -number} for number in range(10)])
    assert claim(max_jobs=1) == [1]
    session, migration = connect(), connect()
    # Twice before, as a prepared statement, as a worker has it.
    session.prepare_threshold = 0
    for _ in range(2):
        statement(queries, session)
    migration.execute("BEGIN")
    migration.execute(f"ALTER TABLE taskq_jobs {change}".encode())
    with waiting_for(migration, session, connection) as run:
        late = run(statement, queries, session)
        migration.execute("COMMIT")
        late.result(timeout=10)
