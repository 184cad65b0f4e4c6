"""Limits where transactions that cannot see one another are under way at once."""

import json
from typing import Any

import psycopg

from tests.sql.conftest import Connect, Ids, Run
from tests.sql.sqlc import Query
from tests.sql.test_limits import TENANT, Declare, declare, wait_for_token

__all__ = ["declare"]  # a fixture


def ended(job_id: int) -> dict[str, Any]:
    outcome = {"job_id": job_id, "claim": 1, "status": "succeeded"}
    return {"worker_id": 1, "outcomes": json.dumps([outcome])}


def test_a_job_that_is_deferred_while_one_of_several_ends_is_let_in_by_that_end(
    connect: Connect, queries: dict[str, Query], declare: Declare, defer: Ids, claim: Ids
) -> None:
    declare("tenant", concurrency=2)
    first, second = defer(TENANT, TENANT)
    assert claim() == [first, second]
    ending = connect()
    ending.execute("BEGIN")
    queries["FinishJobs"].run(ending, **ended(second))
    [third] = defer(TENANT)
    assert claim() == []
    ending.execute("COMMIT")
    assert claim() == [third]


def test_it_is_let_in_where_it_waits_also_if_the_end_was_in_another_queue(
    connect: Connect, queries: dict[str, Query], declare: Declare, defer: Ids, claim: Ids
) -> None:
    declare("tenant", concurrency=1)
    [first] = defer(TENANT | {"queue_name": "a"})
    assert claim() == [first]
    ending = connect()
    ending.execute("BEGIN")
    queries["FinishJobs"].run(ending, **ended(first))
    [second] = defer(TENANT | {"queue_name": "b"})
    assert claim(queue_names=["b"]) == []
    ending.execute("COMMIT")
    assert claim(queue_names=["b"]) == []
    # By who serves the queue of the one that has ended; or by the worker that has ended it, if that cannot
    # claim.
    assert claim(queue_names=["a"]) == []
    assert claim(queue_names=["b"]) == [second]


def test_a_claim_waits_for_no_timer_that_opens_its_limit(
    connect: Connect,
    connection: psycopg.Connection,
    queries: dict[str, Query],
    declare: Declare,
    defer: Ids,
    claim: Ids,
    run: Run,
) -> None:
    declare("stripe", rate=5, per=1)
    first, second, _ = defer(*[{"limit": "stripe"}] * 3)
    assert claim() == [first]
    connection.execute("SELECT pg_sleep_until(open_at) FROM taskq_limit_gates")
    promoting = connect()
    promoting.execute("BEGIN")
    queries["PromoteJobs"].run(promoting, max_jobs=10)
    defer({"limit": "stripe"})
    connection.execute("SET lock_timeout = '500ms'")
    assert claim() == [second]
    promoting.execute("COMMIT")
    assert claim() == []
    wait_for_token(connection, run)
    assert len(claim()) == 1
