"""FinishJobs: what a worker may write about an attempt, and what it may not any more."""

import json
from collections.abc import Callable

from tests.sql.conftest import Run

Ids = Callable[..., list[int]]


def test_a_batch_of_outcomes_is_written_at_once(run: Run, defer: Ids, claim: Ids) -> None:
    good, bad = defer({}, {})
    claim()
    outcomes = [
        {"job_id": good, "attempt": 1, "status": "succeeded", "result": {"sum": 3}},
        {
            "job_id": bad,
            "attempt": 1,
            "status": "failed",
            "error_type": "builtins.ValueError",
            "error_message": "no",
            "error_traceback": "Traceback …",
        },
    ]
    rows = run("FinishJobs", worker_id=1, outcomes=json.dumps(outcomes))
    assert {row["id"] for row in rows} == {good, bad}

    [succeeded], [failed] = run("GetJob", id=good), run("GetJob", id=bad)
    assert (succeeded["status"], succeeded["result"]) == ("succeeded", {"sum": 3})
    assert (failed["status"], failed["result"]) == ("failed", None)
    assert succeeded["finished_at"] >= succeeded["started_at"]
    assert run("ListFailedAttempts", job_id=good) == []
    [attempt] = run("ListFailedAttempts", job_id=bad)
    assert (attempt["attempt"], attempt["worker_id"]) == (1, 1)
    assert (attempt["error_type"], attempt["error_message"]) == ("builtins.ValueError", "no")


def test_a_worker_that_no_longer_has_the_job_changes_nothing(
    run: Run, defer: Ids, claim: Ids, finish: Ids
) -> None:
    [id_] = defer({"lock": "a"})
    claim(worker_id=1)
    failure = {"error_type": "E", "error_message": "late", "error_traceback": "…"}

    assert finish(id_, worker_id=2, status="failed", **failure) == [], "another worker"
    assert finish(id_, attempt=2, status="failed", **failure) == [], "another attempt"
    assert run("GetJob", id=id_)[0]["status"] == "doing"
    assert run("ListFailedAttempts", job_id=id_) == []
    defer({"lock": "a"})
    assert claim() == [], "the lock is still held"

    assert finish(id_) == [id_]
    assert finish(id_, status="failed", **failure) == [], "it is over"
    assert run("GetJob", id=id_)[0]["status"] == "succeeded"


def test_an_outcome_that_came_too_late_does_not_hold_up_the_others(
    run: Run, defer: Ids, claim: Ids, finish: Ids
) -> None:
    mine, lost = defer({}, {})
    claim(1, worker_id=1)
    claim(1, worker_id=2)
    assert finish(mine, lost, worker_id=1) == [mine]
    assert run("GetJob", id=lost)[0]["status"] == "doing"


def test_counts_say_what_became_of_the_jobs(run: Run, defer: Ids, claim: Ids, finish: Ids) -> None:
    defer({}, {}, {}, {"queue_name": "mail"})
    finish(*claim(2, queue_names=["default"]))
    counts = [
        (row["queue_name"], row["task_name"], row["status"], row["jobs"])
        for row in run("CountJobs")
    ]
    assert counts == [
        ("default", "noop", "todo", 1),
        ("default", "noop", "succeeded", 2),
        ("mail", "noop", "todo", 1),
    ]
