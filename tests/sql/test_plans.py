"""What a claim reads, counted: rows, not milliseconds."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.sql.crowds import hold, insert
from tests.sql.sqlc import Query

MANY = 20_000


def plain(connection: psycopg.Connection) -> None:
    pass


def finished_beside(connection: psycopg.Connection) -> None:
    insert(connection, MANY, status="'succeeded'")


def later_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, scheduled_at="now() + interval '1 day'", due="false")


def another_queue_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, queue="'another'")


def busy_locks_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'busy ' || n % 100")
    hold(connection, "busy%")


def one_deep_lock_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'busy'")
    hold(connection, "busy%")


def own_locks_ahead(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'own ' || n")


def own_locks_with_later_jobs(connection: psycopg.Connection) -> None:
    insert(connection, MANY, lock="'own ' || n")
    insert(
        connection, MANY, lock="'own ' || n", scheduled_at="now() + interval '1 day'", due="false"
    )


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes(part)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", ["NULL", "ARRAY['default']"], ids=["all", "named"])
@pytest.mark.parametrize(
    ("shape", "most"),
    [
        (plain, 40),
        (finished_beside, 40),
        (later_ahead, 40),
        (another_queue_ahead, 50),
        (busy_locks_ahead, 350),
        (one_deep_lock_ahead, 250),
        (own_locks_ahead, 650),
        (own_locks_with_later_jobs, 850),
    ],
)
def test_a_claim_of_ten_reads_no_more_rows_than_it_must(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    shape: Callable[[psycopg.Connection], None],
    most: int,
    queue_names: str,
    plans: str,
) -> None:
    shape(connection)
    insert(connection, MANY)
    connection.execute("VACUUM ANALYZE taskq_jobs, taskq_locks")
    query = queries["ClaimJobs"]
    values = {"queue_names": queue_names, "max_jobs": "10", "worker_id": "1"}
    types = {"queue_names": "text[]", "max_jobs": "integer", "worker_id": "bigint"}
    names = [parameter.name for parameter in query.parameters]
    signature = ", ".join(types[name] for name in names)
    arguments = ", ".join(values[name] for name in names)
    connection.execute(f"PREPARE claim ({signature}) AS {query.text}".encode())
    connection.execute(f"SET plan_cache_mode = {plans}".encode())
    connection.execute("SET jit = off")
    row = connection.execute(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE claim ({arguments})".encode()
    ).fetchone()
    assert row

    scans = [
        node
        for node in nodes(row[0][0]["Plan"])
        if node.get("Relation Name") == "taskq_jobs" and "Scan" in node["Node Type"]
    ]
    assert {node["Node Type"] for node in scans} <= {"Index Scan", "Index Only Scan"}
    read = sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in scans
    )
    assert 30 <= read <= most, json.dumps(row[0][0]["Plan"], indent=1)
    claimed = connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
    ).fetchone()
    assert claimed == (10,)
