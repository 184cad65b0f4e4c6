"""AwaitJobs, and the notification of an end that a client waits for: whatever the way to end."""

import psycopg
import pytest

from tests.sql.conftest import Connect, Ids, Notified, Run, waiting_for
from tests.sql.sqlc import Query


def await_jobs(run: Run, *ids: int) -> list[int]:
    """Marks jobs, and returns those that were not marked."""
    return sorted(row["id"] for row in run("AwaitJobs", ids=list(ids)))


def ended(notified: Notified) -> list[str]:
    return [payload for payload in notified() if payload.startswith("ended")]


WAYS: dict[str, str] = {
    "finished": "UPDATE taskq_jobs SET status = 'succeeded' WHERE id = %s",
    "failed": "UPDATE taskq_jobs SET status = 'failed' WHERE id = %s",
    "cancelled": "UPDATE taskq_jobs SET status = 'cancelled' WHERE id = %s",
    "aborted": "UPDATE taskq_jobs SET status = 'aborted' WHERE id = %s",
    "deleted": "DELETE FROM taskq_jobs WHERE id = %s",
}


@pytest.mark.parametrize("way", WAYS)
def test_each_end_is_notified_once_and_of_no_other_job(
    way: str, run: Run, defer: Ids, notified: Notified, connection: psycopg.Connection
) -> None:
    awaited, plain = defer({}, {})
    assert await_jobs(run, awaited) == [awaited]
    notified()
    for job_id in (awaited, plain):
        connection.execute(WAYS[way].encode(), [job_id])
    assert ended(notified) == [f"ended {awaited}"]
    connection.execute("UPDATE taskq_jobs SET priority = 1")
    connection.execute("DELETE FROM taskq_jobs")
    assert ended(notified) == []


def test_a_workers_and_an_operators_statements_notify_too(
    run: Run, defer: Ids, claim: Ids, finish: Ids, notified: Notified
) -> None:
    by_worker, cancelled, deleted = defer({}, {}, {})
    assert await_jobs(run, by_worker, cancelled, deleted) == [by_worker, cancelled, deleted]
    statuses = ["todo"]
    run("CancelJobs", ids=[cancelled], statuses=statuses, abort=False, delete_job=False)
    run("CancelJobs", ids=[deleted], statuses=statuses, abort=False, delete_job=True)
    claim()
    assert sorted(ended(notified)) == [f"ended {cancelled}", f"ended {deleted}"]
    finish(by_worker)
    assert ended(notified) == [f"ended {by_worker}"]


def test_a_job_may_be_marked_when_it_is_deferred(
    run: Run, defer: Ids, notified: Notified, connection: psycopg.Connection
) -> None:
    plain, marked, _ = defer(
        {"awaited": True}, {"awaited": True, "lock": "a", "tags": ["b"]}, {"awaited": False}
    )
    marks = connection.execute("SELECT awaited FROM taskq_jobs ORDER BY id").fetchall()
    assert marks == [(True,), (True,), (None,)]
    [keyed] = defer({"awaited": True, "idempotency_key": "k"})
    connection.execute("DELETE FROM taskq_jobs")
    assert ended(notified) == [f"ended {job_id}" for job_id in (plain, marked, keyed)]


def test_what_has_ended_or_is_not_there_is_not_marked(
    run: Run, defer: Ids, connection: psycopg.Connection
) -> None:
    [job_id] = defer({})
    connection.execute("UPDATE taskq_jobs SET status = 'succeeded'")
    assert await_jobs(run, job_id, job_id + 1) == []


def test_a_row_that_another_transaction_has_is_not_waited_for(
    run: Run, defer: Ids, connect: Connect
) -> None:
    first, second = defer({}, {})
    other = connect()
    with other.transaction():
        other.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [first])
        assert await_jobs(run, first, second) == [second]
    assert await_jobs(run, first, second) == [first]


def test_an_end_that_waits_for_the_mark_is_notified(
    connection: psycopg.Connection,
    queries: dict[str, Query],
    defer: Ids,
    connect: Connect,
    notified: Notified,
) -> None:
    [job_id] = defer({})
    marking, ending = connect(), connect()
    with waiting_for(marking, ending, connection) as late:
        with marking.transaction():
            queries["AwaitJobs"].run(marking, ids=[job_id])
            end = late(ending.execute, WAYS["finished"], [job_id])
        end.result(15)
    assert ended(notified) == [f"ended {job_id}"]


def test_a_claim_that_passed_over_a_job_that_was_being_marked_is_repeated(
    run: Run, defer: Ids, notified: Notified
) -> None:
    plain, locked, later = defer(
        {"queue_name": "a"},
        {"queue_name": "b", "lock": "l"},
        {"queue_name": "c", "schedule_in": 60},
    )
    notified()
    await_jobs(run, plain, locked, later)
    assert sorted(payload.split()[-1] for payload in notified()) == ["a", "b"]
    # And only then.
    await_jobs(run, plain, locked, later)
    assert notified() == []
