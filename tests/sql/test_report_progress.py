"""ReportProgress: how far jobs are, written only for the worker that runs them, without waiting."""

import json
from typing import Any

import psycopg

from tests.sql.conftest import Connect, Ids, JobOf, Run


def report(run: Run, *ids: int, claim: int = 1, worker_id: int = 1, done: float = 5) -> list[int]:
    """Reports progress; returns the jobs that were left out."""
    reports: list[dict[str, Any]] = [
        {"job_id": id_, "worker_id": worker_id, "claim": claim, "progress": {"done": done}}
        for id_ in ids
    ]
    return [row["id"] for row in run("ReportProgress", reports=json.dumps(reports))]


def test_what_runs_has_its_progress(run: Run, defer: Ids, claim: Ids, job_of: JobOf) -> None:
    ids = defer({}, {})
    claim()
    assert report(run, *ids) == []
    for id_ in ids:
        progress = job_of(id_)["progress"]
        assert (progress["done"], progress["claim"]) == (5, 1)
        assert "reported_at" in progress


def test_nothing_is_written_for_a_worker_that_does_not_run_the_job(
    run: Run, defer: Ids, claim: Ids, finish: Ids, job_of: JobOf
) -> None:
    running, ended, waiting = defer({}, {}, {"schedule_in": 60})
    claim()
    finish(ended)
    assert report(run, running, claim=2) == []
    assert report(run, running, worker_id=2) == []
    assert report(run, ended, waiting, waiting + 1) == []
    assert [job_of(id_)["progress"] for id_ in (running, ended, waiting)] == [None] * 3


def test_a_row_that_another_transaction_has_is_left_out_and_said(
    run: Run, defer: Ids, claim: Ids, connect: Connect, job_of: JobOf
) -> None:
    first, second = defer({}, {})
    claim()
    other = connect()
    with other.transaction():
        other.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [first])
        assert report(run, first, second) == [first]
    assert job_of(first)["progress"] is None
    assert job_of(second)["progress"]["done"] == 5


def test_the_last_one_goes_with_the_end_and_none_leaves_the_one_before(
    run: Run, defer: Ids, claim: Ids, finish: Ids, job_of: JobOf
) -> None:
    first, second = defer({}, {})
    claim()
    report(run, first, second)
    finish(first, progress={"done": 9, "message": "nearly"})
    finish(second)
    progress = job_of(first)["progress"]
    assert (progress["done"], progress["message"], progress["claim"]) == (9, "nearly", 1)
    assert job_of(second)["progress"]["done"] == 5


def test_a_job_that_replaces_another_begins_anew(
    run: Run, defer: Ids, connection: psycopg.Connection, job_of: JobOf
) -> None:
    [id_] = defer({"queueing_lock": "q"})
    connection.execute("UPDATE taskq_jobs SET progress = '{}'")
    run(
        "DeferJobs",
        on_conflict="replace",
        share_notification=False,
        numbers_checked=False,
        jobs='[{"task_name": "noop", "queueing_lock": "q"}]',
    )
    assert job_of(id_)["progress"] is None
