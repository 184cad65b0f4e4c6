"""Rows that were written by hand: the tables refuse what never was right, and no statement dies of one."""

import psycopg
import pytest

from tests.conftest import Spoil
from tests.sql.conftest import Ids, JobOf, Run

BILLION = 10**9


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("scheduled_at", time) for time in ("'infinity'", "'-infinity'", "'20000-01-01'")),
        ("due", "false"),
        ("status", "'doing'"),
        ("queue_name", "''"),
        ("lock", "repeat('l', 501)"),
        ("args", "'[]'"),
        ("tags", "'{a,NULL}'"),
    ],
)
def test_a_job_that_no_statement_could_have_written_is_refused(
    connection: psycopg.Connection, defer: Ids, column: str, value: str
) -> None:
    defer({})
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(f"UPDATE taskq_jobs SET {column} = {value}".encode())


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO taskq_workers (name, last_heartbeat) VALUES ('w', 'infinity')",
        "INSERT INTO taskq_workers (name, started_at) VALUES ('w', '-infinity')",
        "INSERT INTO taskq_workers (name, queue_names) VALUES ('w', '{{a},{b}}')",
        "INSERT INTO taskq_workers (name, queue_names) VALUES ('w', '{a,NULL}')",
        "INSERT INTO taskq_periodic VALUES ('t', '', 9223372036854775807)",
        "INSERT INTO taskq_periodic VALUES ('t', '', NULL, 9223372036854775807)",
        "INSERT INTO taskq_retention (worker_id, leased_until) VALUES (1, 'infinity')",
        "INSERT INTO taskq_pauses (kind, name) VALUES ('lock', 'a')",
        "INSERT INTO taskq_subscriptions (event, task_name, queue_name) VALUES ('', 'a', 'a')",
        "INSERT INTO taskq_subscriptions (event, task_name, queue_name) VALUES (repeat('a', 501), 'a', 'a')",
        "INSERT INTO taskq_subscriptions VALUES ('a', 'a', 'a', '[]')",
        "INSERT INTO taskq_subscriptions VALUES ('a', 'a', 'a', '{}', '{}')",
        "INSERT INTO taskq_subscriptions VALUES ('a', 'a', 'a', '{}', NULL, 'w', 'infinity')",
        "INSERT INTO taskq_pauses (kind, name, paused_at) VALUES ('queue', 'a', 'infinity')",
    ],
)
def test_so_is_a_row_of_another_table(connection: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(statement.encode())


@pytest.mark.parametrize("counted", [BILLION, 2**31 - 1, -(2**31)])
def test_a_job_that_was_claimed_as_often_as_can_be_is_claimed_finished_and_rescued(
    connection: psycopg.Connection,
    run: Run,
    defer: Ids,
    claim: Ids,
    spoil: Spoil,
    job_of: JobOf,
    counted: int,
) -> None:
    spoilt, fine = defer({}, {"lock": "l"})
    spoil(spoilt, claim=counted, attempt=counted, crashes=counted)
    assert sorted(claim()) == [spoilt, fine]
    claimed = min(counted, BILLION - 1) + 1
    assert (job_of(spoilt)["claim"], job_of(spoilt)["attempt"]) == (claimed, claimed)
    outcome = f"""[
        {{"job_id": {spoilt}, "claim": {claimed}, "status": "todo", "keeps_attempt": true}},
        {{"job_id": {fine}, "claim": 1, "status": "succeeded", "held_lock": "l"}}
    ]"""
    [ours] = run("FinishJobs", worker_id=1, outcomes=outcome)
    assert sorted(ours["ids"]) == [spoilt, fine]
    assert job_of(spoilt)["attempt"] == max(claimed - 1, 0)
    assert claim() == [spoilt]
    connection.execute("UPDATE taskq_jobs SET started_at = now() - interval '2 min'")
    assert [row["id"] for row in run("RescueJobs", stalled_after=60.0, max_crashes=3)] == [spoilt]
    assert job_of(spoilt)["crashes"] == min(counted, BILLION - 1) + 1


def test_an_attempt_that_fails_a_second_time_takes_the_place_of_the_first(
    run: Run, defer: Ids, claim: Ids, finish: Ids, spoil: Spoil, connection: psycopg.Connection
) -> None:
    """An operator set the job back by hand, as if it had never been tried: nothing stands in its way."""
    again, fine = defer({}, {})
    failed = {"error_type": "E", "error_message": "first", "error_traceback": ""}
    claim()
    finish(again, status="failed", **failed)
    finish(fine)
    spoil(again, status="todo", claim=0, finished_at=None)
    other, *_ = defer({})
    assert sorted(claim()) == [again, other]
    assert finish(again, other, status="failed", **failed | {"error_message": "second"}) == [
        again,
        other,
    ]
    [attempt] = run("ListFailedAttempts", job_id=again)
    assert attempt["error_message"] == "second"
    # So it is if its worker dies.
    spoil(again, status="todo", claim=0, finished_at=None)
    assert claim() == [again]
    connection.execute("UPDATE taskq_jobs SET started_at = now() - interval '2 min'")
    assert [row["id"] for row in run("RescueJobs", stalled_after=60.0, max_crashes=3)] == [again]
    [attempt] = run("ListFailedAttempts", job_id=again)
    assert attempt["error_type"] == "taskq.exceptions.WorkerDied"


def test_rows_that_could_not_move_are_found(
    run: Run, defer: Ids, claim: Ids, spoil: Spoil, job_of: JobOf, connection: psycopg.Connection
) -> None:
    """Where the constraints are gone: by the rescue, and by the worker that looks for jobs that are due."""
    timeless, ownerless, unstarted, endless, immortal, alive = defer(*[{}] * 6)
    [[live], [dead]] = [
        connection.execute(
            "INSERT INTO taskq_workers (name, last_heartbeat) VALUES ('w', %s) RETURNING id", [beat]
        ).fetchone()
        or []
        for beat in ("now", "infinity")
    ]
    spoil(timeless, due=False)
    spoil(ownerless, status="doing", claim=1, started_at="now")
    spoil(unstarted, status="doing", claim=1, worker_id=10**9)
    spoil(endless, status="doing", claim=1, worker_id=10**9, started_at="infinity")
    spoil(immortal, status="doing", claim=1, worker_id=dead, started_at="now")
    spoil(alive, status="doing", claim=1, worker_id=live, started_at="now")
    assert [row["jobs"] for row in run("PromoteJobs", max_jobs=10)] == [1]
    rescued = run("RescueJobs", stalled_after=60.0, max_crashes=3)
    assert sorted(row["id"] for row in rescued) == [ownerless, unstarted, endless, immortal]
    assert sorted(claim()) == [timeless, ownerless, unstarted, endless, immortal]


def test_a_turn_to_prune_that_never_ends_is_no_workers(
    run: Run, connection: psycopg.Connection, unchecked: None
) -> None:
    for until in ("infinity", "9000-01-01", "-infinity"):
        connection.execute("DELETE FROM taskq_retention")
        connection.execute(
            "INSERT INTO taskq_retention (worker_id, leased_until) VALUES (99, %s)", [until]
        )
        assert run("LeaseRetention", worker_id=1, lease=120.0)


def test_a_job_that_says_it_was_deferred_tomorrow_keeps_no_other_from_being_pruned(
    run: Run, defer: Ids, claim: Ids, finish: Ids, spoil: Spoil
) -> None:
    odd, old = defer({}, {})
    claim()
    finish(odd, old)
    spoil(odd, deferred_at="infinity", finished_at="infinity")
    spoil(old, deferred_at="2020-01-01", finished_at="2020-01-02")
    [deleted] = run(
        "DeleteOldJobs",
        status="succeeded",
        older_than=60.0,
        queue_name=None,
        after=0,
        max_scanned=1,
        max_jobs=10,
    )
    assert not deleted["is_end"]


def test_a_name_that_no_notification_can_carry_stops_no_statement(
    run: Run, defer: Ids, claim: Ids, finish: Ids, spoil: Spoil
) -> None:
    long, fine = defer({}, {})
    spoil(long, queue_name="q" * 100_000)
    assert sorted(claim()) == [long, fine]
    assert finish(long, fine, status="todo") == [long, fine]
