"""The queries of a task's transaction: whether the job is its worker's, held, and what became of it."""

import json

import psycopg
import pytest

from tests.sql.conftest import Connect, Ids, Run
from tests.sql.sqlc import Query

HELD = {"idle_for": "1h"}
OTHERS = [{"claim": 2}, {"worker_id": 2}, {"job_id": 0}]


@pytest.fixture
def job(defer: Ids, claim: Ids) -> dict[str, int]:
    """A job that worker 1 has claimed."""
    [job_id] = defer({})
    claim()
    return {"job_id": job_id, "claim": 1, "worker_id": 1}


@pytest.mark.parametrize("other", OTHERS, ids=["claim", "worker", "job"])
def test_a_job_is_its_workers_by_worker_and_claim(
    run: Run, job: dict[str, int], other: dict[str, int]
) -> None:
    assert [row["is_ours"] for row in run("BeginJobCommit", **job)] == [True]
    assert [row["abort_requested"] for row in run("HoldJob", **HELD, **job)] == [False]
    assert [row["is_ours"] for row in run("BeginJobCommit", **job | other)] == [False]
    assert run("HoldJob", **HELD, **job | other) == []


def test_a_job_that_has_ended_is_not_held(run: Run, job: dict[str, int], finish: Ids) -> None:
    finish(job["job_id"])
    assert [row["is_ours"] for row in run("BeginJobCommit", **job)] == [False]
    assert run("HoldJob", **HELD, **job) == []


def test_a_transaction_is_known_by_its_time_and_a_job_is_held_until_its_end(
    connect: Connect, queries: dict[str, Query], job: dict[str, int], connection: psycopg.Connection
) -> None:
    ours = connect()
    with ours.transaction():
        [begun] = queries["BeginJobCommit"].run(ours, **job)
        look = "SELECT id FROM taskq_jobs FOR UPDATE SKIP LOCKED"
        assert connection.execute(look).fetchall()
        [held] = queries["HoldJob"].run(ours, **HELD, **job)
        assert held["began_at"] == begun["began_at"]
        assert connection.execute(look).fetchall() == []
    with ours.transaction():
        [held] = queries["HoldJob"].run(ours, **HELD, **job)
    assert held["began_at"] > begun["began_at"]


def test_one_that_is_to_be_aborted_says_so(run: Run, job: dict[str, int]) -> None:
    run("CancelJobs", ids=[job["job_id"]], statuses=["doing"], abort=True, delete_job=False)
    assert [row["abort_requested"] for row in run("HoldJob", **HELD, **job)] == [True]


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("committed", [False, True])
def test_what_became_of_a_commit_is_known_by_its_number(
    run: Run,
    connect: Connect,
    queries: dict[str, Query],
    job: dict[str, int],
    deleted: bool,
    committed: bool,
) -> None:
    ours = connect()
    outcome = {"job_id": job["job_id"], "claim": 1, "status": "succeeded", "deleted": deleted}
    with ours.transaction(force_rollback=not committed):
        [held] = queries["HoldJob"].run(ours, **HELD, **job)
        number = held["transaction_id"]
        queries["FinishJobs"].run(ours, worker_id=1, outcomes=json.dumps([outcome]))
        [asked] = run("ReadJobCommit", transaction_id=number, **job)
        assert (asked["is_committed"], asked["is_under_way"]) == (False, True)
    [asked] = run("ReadJobCommit", transaction_id=number, **job)
    assert (asked["is_committed"], asked["is_under_way"]) == (committed, False)


def test_a_number_that_is_anothers_by_now_does_not_count(
    run: Run, connection: psycopg.Connection, job: dict[str, int]
) -> None:
    """As after a fail-over to a server that had not received the commit."""
    row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    assert row
    [asked] = run("ReadJobCommit", transaction_id=row[0], **job)
    assert (asked["is_committed"], asked["is_under_way"]) == (False, False)
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        run("ReadJobCommit", transaction_id=str(int(row[0]) + 1_000_000), **job)


def test_a_session_that_is_left_in_its_transaction_is_ended(
    run: Run, connect: Connect, queries: dict[str, Query], job: dict[str, int]
) -> None:
    ours = connect()
    ours.autocommit = False
    [held] = queries["HoldJob"].run(ours, **HELD, **job)
    assert run("EndJobCommit", transaction_id=held["transaction_id"]) == [{"is_told": True}]
    with pytest.raises(psycopg.OperationalError):
        ours.execute("SELECT 1")
    assert run("EndJobCommit", transaction_id=held["transaction_id"]) == []
    ours.close()


@pytest.mark.parametrize("idle", [False, True])
def test_a_transaction_from_which_nothing_comes_while_its_client_waits_is_ended(
    run: Run, connect: Connect, queries: dict[str, Query], job: dict[str, int], idle: bool
) -> None:
    ours = connect()
    ours.autocommit = False
    [begun] = queries["BeginJobCommit"].run(ours, **job)
    asked = {"pids": [begun["pid"]], "began_at": [begun["began_at"]]}
    silent = run("EndSilentTransactions", **asked, idle_for=0 if idle else 60)
    assert silent == [{"pid": begun["pid"], "is_silent": idle}]
    if idle:
        with pytest.raises(psycopg.OperationalError):
            ours.execute("SELECT 1")
    ours.close()


def test_a_transaction_whose_session_is_gone_or_does_something_else_is_silent_and_left_alone(
    run: Run, connect: Connect, queries: dict[str, Query], job: dict[str, int]
) -> None:
    ours = connect()
    with ours.transaction():
        [begun] = queries["BeginJobCommit"].run(ours, **job)
    with ours.transaction():
        ours.execute("SELECT 1")
        asked = {"pids": [begun["pid"], 0], "began_at": [begun["began_at"], 1], "idle_for": 0}
        rows = run("EndSilentTransactions", **asked)
        assert [row["is_silent"] for row in rows] == [True, True]
        ours.execute("SELECT 1")
