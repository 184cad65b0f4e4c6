"""FinishJobs: what a worker may write about an attempt, and what it may not any more."""

import json
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, HeldLocks, Ids, JobOf, Notified, Run

ERROR = {"error_type": "E", "error_message": "no", "error_traceback": "…"}


def test_a_batch_of_outcomes_is_written_at_once(run: Run, defer: Ids, claim: Ids) -> None:
    good, bad = defer({}, {})
    claim()
    outcomes = [
        {"job_id": good, "claim": 1, "status": "succeeded", "result": {"sum": 3}},
        {
            "job_id": bad,
            "claim": 1,
            "status": "failed",
            "error_type": "builtins.ValueError",
            "error_message": "no",
            "error_traceback": "Traceback …",
        },
    ]
    [ours] = run("FinishJobs", worker_id=1, outcomes=json.dumps(outcomes))
    assert dict(zip(ours["ids"], ours["statuses"], strict=True)) == {
        good: "succeeded",
        bad: "failed",
    }

    [succeeded], [failed] = run("GetJob", id=good), run("GetJob", id=bad)
    assert (succeeded["status"], succeeded["result"]) == ("succeeded", {"sum": 3})
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert succeeded["finished_at"] >= succeeded["started_at"]
    assert run("ListFailedAttempts", job_id=good) == []
    [attempt] = run("ListFailedAttempts", job_id=bad)
    assert (attempt["claim"], attempt["attempt"], attempt["worker_id"]) == (1, 1, 1)
    assert (attempt["error_type"], attempt["error_message"]) == ("builtins.ValueError", "no")


@pytest.mark.parametrize(
    "outcome",
    [
        {"status": "succeeded", "result": 1},
        {"status": "failed", **ERROR},
        {"status": "todo", "retry_in": 60, "queue_name": "mail", "lock": "b", **ERROR},
        {"status": "todo", "keeps_attempt": True},
        {"status": "succeeded", "deleted": True},
    ],
    ids=["succeeded", "failed", "retried", "given back", "deleted"],
)
def test_a_worker_that_no_longer_has_the_job_changes_nothing(
    run: Run,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    notified: Notified,
    outcome: dict[str, Any],
) -> None:
    [id_] = defer({"lock": "a", "queueing_lock": "q"})
    claim(worker_id=1)
    before = job_of(id_)
    notified()

    assert finish(id_, worker_id=2, **outcome) == [], "another worker"
    assert finish(id_, claim=2, **outcome) == [], "another claim"
    assert job_of(id_) == before
    assert held_locks() == [("a", id_)]

    assert finish(id_) == [id_]
    over = job_of(id_)
    assert finish(id_, **outcome) == [], "it is over"
    assert job_of(id_) == over
    assert run("ListFailedAttempts", job_id=id_) == []
    assert notified() == []


def test_an_outcome_that_came_too_late_does_not_hold_up_the_others(
    run: Run, defer: Ids, claim: Ids, finish: Ids
) -> None:
    mine, lost = defer({}, {})
    claim(1, worker_id=1)
    claim(1, worker_id=2)
    assert finish(mine, lost, worker_id=1) == [mine]
    assert run("GetJob", id=lost)[0]["status"] == "doing"


def test_a_retry_without_a_time_waits_again_at_once(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf, notified: Notified, run: Run
) -> None:
    [id_] = defer({"scheduled_at": "2001-01-01T00:00:00Z"})
    claim()
    claimed = job_of(id_)
    notified()
    assert finish(id_, status="todo", **ERROR) == [id_]

    assert job_of(id_) == claimed | {"status": "todo"}
    assert (claimed["due"], claimed["claim"], claimed["attempt"]) == (True, 1, 1)
    assert notified() == ["ready default"]
    [attempt] = run("ListFailedAttempts", job_id=id_)
    assert (attempt["claim"], attempt["attempt"], attempt["error_message"]) == (1, 1, "no")
    assert claim(worker_id=2) == [id_]
    assert (job_of(id_)["claim"], job_of(id_)["attempt"]) == (2, 2)


def test_a_retry_in_seconds_or_at_a_time_waits_for_it(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf, notified: Notified
) -> None:
    soon, later = defer({}, {"queue_name": "mail"})
    claim()
    notified()
    finish(soon, status="todo", retry_in=90.5)
    finish(later, status="todo", retry_at="2100-01-01T00:00:00Z")

    in_seconds, at_time = job_of(soon), job_of(later)
    assert 0 < (in_seconds["scheduled_at"] - in_seconds["started_at"]).total_seconds() - 90.5 < 60
    assert at_time["scheduled_at"].year == 2100
    for job in (in_seconds, at_time):
        assert (job["status"], job["due"], job["finished_at"]) == ("todo", False, None)
    assert notified() == [
        f"later {in_seconds['scheduled_at'].timestamp():.6f} default",
        "later 4102444800.000000 mail",
    ]
    assert claim() == []


def test_a_retry_at_a_time_that_is_past_waits_at_once(
    defer: Ids, claim: Ids, finish: Ids, notified: Notified
) -> None:
    past, zero = defer({}, {})
    claim()
    notified()
    finish(past, status="todo", retry_at="2001-01-01T00:00:00Z")
    finish(zero, status="todo", retry_in=0)
    assert notified() == ["ready default"] * 2
    assert claim() == [past, zero]


def test_a_batch_of_retries_is_notified_once_for_each_queue_and_kind(
    defer: Ids, claim: Ids, finish: Ids, notified: Notified
) -> None:
    ids = defer(*({"queue_name": name} for name in ("a", "a", "b", "b")))
    claim()
    notified()
    finish(*ids, status="todo", retry_at="2100-01-01T00:00:00Z")
    assert notified() == ["later 4102444800.000000 a", "later 4102444800.000000 b"]


def test_a_snooze_or_a_job_given_back_does_not_use_up_an_attempt(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf, run: Run
) -> None:
    [id_] = defer({})
    claim()
    finish(id_, status="todo", keeps_attempt=True)
    claim()
    assert (job_of(id_)["claim"], job_of(id_)["attempt"]) == (2, 1)
    finish(id_, claim=2, status="todo", keeps_attempt=True, retry_in=60)
    job = job_of(id_)
    assert (job["claim"], job["attempt"], job["due"]) == (2, 0, False)
    assert run("ListFailedAttempts", job_id=id_) == []


def test_a_failure_is_kept_by_its_claim_with_the_attempt_that_ran(
    defer: Ids, claim: Ids, finish: Ids, run: Run
) -> None:
    [id_] = defer({})
    for number, keeps_attempt in enumerate([True, True, False, False], start=1):
        claim()
        assert finish(id_, claim=number, status="todo", keeps_attempt=keeps_attempt, **ERROR) == [
            id_
        ]
    failed = run("ListFailedAttempts", job_id=id_)
    assert [(row["claim"], row["attempt"]) for row in failed] == [(1, 1), (2, 1), (3, 1), (4, 2)]
    claimed = [row["started_at"] for row in failed]
    assert claimed == sorted(set(claimed)), "when each was claimed"
    assert all(row["started_at"] <= row["failed_at"] for row in failed)


def test_a_retry_may_change_priority_queue_and_lock(
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    notified: Notified,
) -> None:
    [id_] = defer({"lock": "a"})
    claim()
    notified()
    finish(id_, status="todo", priority=-7, queue_name="mail", lock="b")

    job = job_of(id_)
    assert (job["priority"], job["queue_name"], job["lock"]) == (-7, "mail", "b")
    assert held_locks() == [], "the lock that it held is free, whatever the next one is"
    assert notified() == ["ready mail"]
    assert claim() == [id_]
    assert held_locks() == [("b", id_)]


def test_a_lock_is_not_freed_by_a_job_that_does_not_hold_it(
    defer: Ids, claim: Ids, finish: Ids, held_locks: HeldLocks
) -> None:
    holder, other = defer({"lock": "a"}, {})
    claim()
    assert finish(other, held_lock="a") == [other]
    assert held_locks() == [("a", holder)]


def test_a_job_that_is_to_be_deleted_goes_with_its_lock_and_its_failed_attempts(
    connection: psycopg.Connection,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    held_locks: HeldLocks,
) -> None:
    first, second = defer({"lock": "a"}, {})
    claim()
    finish(first, status="todo", **ERROR)
    claim()
    assert finish(first, claim=2, status="failed", deleted=True, **ERROR) == [first]
    assert finish(second, deleted=True) == [second]
    assert connection.execute("SELECT FROM taskq_jobs").fetchall() == []
    assert connection.execute("SELECT FROM taskq_failed_attempts").fetchall() == []
    assert held_locks() == []


def test_a_retry_that_meets_its_own_queueing_lock_ends_as_failed(
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    held_locks: HeldLocks,
    notified: Notified,
    run: Run,
) -> None:
    [id_] = defer({"queueing_lock": "it's", "lock": "a"})
    claim()
    [waiting] = defer({"queueing_lock": "it's"})
    notified()
    assert finish(id_, status="todo") == [id_]

    assert (job_of(id_)["status"], job_of(waiting)["status"]) == ("failed", "todo")
    assert job_of(id_)["finished_at"] >= job_of(id_)["started_at"]
    assert held_locks() == []
    assert notified() == []
    [attempt] = run("ListFailedAttempts", job_id=id_)
    assert (attempt["claim"], attempt["attempt"], attempt["worker_id"]) == (1, 1, 1)
    assert attempt["error_type"] == "taskq.exceptions.AlreadyEnqueued"
    assert attempt["error_message"] == (
        "not queued again: another job with the queueing lock 'it''s' waits already"
    )


def test_of_two_retries_with_one_queueing_lock_in_a_batch_one_waits(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf, notified: Notified, run: Run
) -> None:
    [first] = defer({"queueing_lock": "q"})
    claim()
    [second] = defer({"queueing_lock": "q"})
    claim()
    notified()
    assert sorted(finish(second, first, status="todo", **ERROR)) == [first, second]

    assert (job_of(first)["status"], job_of(second)["status"]) == ("todo", "failed")
    assert notified() == ["ready default"]
    [plain], [barred] = (run("ListFailedAttempts", job_id=id_) for id_ in (first, second))
    assert plain["error_message"] == "no"
    assert (barred["error_type"], barred["error_traceback"]) == ("E", "…"), "the error is kept"
    assert barred["error_message"] == (
        "no; not queued again: another job with the queueing lock 'q' waits already"
    )


def test_a_retry_is_not_barred_by_an_outcome_that_came_too_late(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf
) -> None:
    [lost] = defer({"queueing_lock": "q"})
    claim(worker_id=2)
    [mine] = defer({"queueing_lock": "q"})
    claim()
    assert finish(lost, mine, status="todo") == [mine]
    assert (job_of(lost)["status"], job_of(mine)["status"]) == ("doing", "todo")


def test_a_job_that_is_to_be_aborted_is_not_queued_again(
    defer: Ids, claim: Ids, finish: Ids, job_of: JobOf, run: Run
) -> None:
    aborted, retried = defer({}, {})
    claim()
    for id_ in (aborted, retried):
        run("CancelJobs", ids=[id_], statuses=STATUSES, abort=True, delete_job=False)
    finish(aborted, status="aborted")
    finish(retried, status="todo")
    assert (job_of(aborted)["status"], job_of(aborted)["abort_requested"]) == ("aborted", True)
    # Its worker may not have heard of the request.
    assert (job_of(retried)["status"], job_of(retried)["abort_requested"]) == ("aborted", True)
    assert job_of(retried)["finished_at"] is not None
