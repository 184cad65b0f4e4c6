"""RetryJobs: jobs that failed, were cancelled or were aborted go back into the queue."""

from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, Ids, JobOf, Notified, Run

RETRY: dict[str, Any] = {
    "statuses": STATUSES,
    "retry_at": None,
    "retry_in": None,
    "priority": None,
    "queue_name": None,
    "lock": None,
}


@pytest.fixture
def ended(defer: Ids, claim: Ids, finish: Ids) -> Ids:
    """Jobs that were run and have ended with a status; returns their ids."""

    def end(*jobs: dict[str, Any], status: str = "failed") -> list[int]:
        ids = defer(*jobs)
        assert claim() == ids
        finish(*ids, status=status, error_type="E", error_message="", error_traceback="")
        return ids

    return end


@pytest.mark.parametrize("status", ["failed", "cancelled", "aborted"])
def test_a_job_that_ended_badly_waits_again(
    run: Run,
    ended: Ids,
    claim: Ids,
    job_of: JobOf,
    notified: Notified,
    connection: psycopg.Connection,
    status: str,
) -> None:
    [id_] = ended({"queue_name": "mail", "lock": "a", "priority": 3}, status=status)
    connection.execute("UPDATE taskq_jobs SET abort_requested = true, result = '1', given_back = 2")
    notified()
    [answer] = run("RetryJobs", ids=[id_], **RETRY)
    assert (answer["done"], answer["status"]) == (True, status)
    assert notified() == ["ready mail"]
    job = job_of(id_)
    assert (job["status"], job["due"], job["finished_at"], job["result"]) == (
        "todo",
        True,
        None,
        None,
    )
    assert (job["queue_name"], job["lock"], job["priority"]) == ("mail", "a", 3)
    assert not job["abort_requested"], "or it would end at once"
    assert job["given_back"] is None, "or one that was cancelled meanwhile had no time left"
    assert len(run("ListFailedAttempts", job_id=id_)) == 1
    assert claim() == [id_]
    assert (job_of(id_)["claim"], job_of(id_)["attempt"]) == (2, 2)


def test_a_job_gets_another_time_priority_queue_and_lock(
    run: Run, ended: Ids, claim: Ids, job_of: JobOf, notified: Notified
) -> None:
    [id_] = ended({"lock": "a"})
    notified()
    changed = {"priority": 9, "queue_name": "slow", "lock": "b"}
    run("RetryJobs", ids=[id_], **RETRY | changed | {"retry_at": "2100-01-01T00:00:00Z"})
    job = job_of(id_)
    assert {name: job[name] for name in changed} == changed
    assert (job["due"], job["scheduled_at"].year) == (False, 2100)
    [heard] = notified()
    assert heard.startswith("later 4102444800")
    assert heard.endswith(" slow")
    assert claim() == []


def test_a_job_that_was_cancelled_while_it_waited_for_later_is_due_at_once(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    [id_] = defer({"scheduled_at": "2100-01-01T00:00:00Z"})
    run("CancelJobs", ids=[id_], statuses=STATUSES, abort=False, delete_job=False)
    run("RetryJobs", ids=[id_], **RETRY)
    assert job_of(id_)["due"]
    assert job_of(id_)["scheduled_at"].year < 2100
    assert claim() == [id_]


@pytest.mark.parametrize("status", ["todo", "doing", "succeeded"])
def test_a_job_that_waits_runs_or_has_succeeded_stays_as_it_is(
    run: Run,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    notified: Notified,
    status: str,
) -> None:
    [id_] = defer({"queueing_lock": "q"})
    if status != "todo":
        claim()
    if status == "succeeded":
        finish(id_)
    before = job_of(id_)
    notified()
    [answer] = run("RetryJobs", ids=[id_], **RETRY)
    assert (answer["done"], answer["status"], answer["conflicting_id"]) == (False, status, 0)
    assert job_of(id_) == before
    assert notified() == []
    assert run("RetryJobs", ids=[id_], **RETRY | {"statuses": ["failed"]}) == []
    assert run("RetryJobs", ids=[10**9], **RETRY) == []


def test_a_job_whose_queueing_lock_is_taken_stays_and_says_by_whom(
    run: Run, ended: Ids, defer: Ids, job_of: JobOf, notified: Notified
) -> None:
    taken, free = ended({"queueing_lock": "q"}, {"queueing_lock": "r"})
    [waiting] = defer({"queueing_lock": "q"})
    notified()
    answers = run("RetryJobs", ids=[taken, free], **RETRY)
    assert [(answer["done"], answer["conflicting_id"]) for answer in answers] == [
        (False, waiting),
        (True, 0),
    ]
    assert answers[0]["queueing_lock"] == "q"
    assert job_of(taken)["status"] == "failed"
    assert notified() == ["ready default"]


def test_of_two_jobs_with_one_queueing_lock_the_first_is_retried(
    run: Run, defer: Ids, claim: Ids, finish: Ids, job_of: JobOf
) -> None:
    ids = []
    for _ in range(2):
        ids += defer({"queueing_lock": "q"})
        claim()
        finish(ids[-1], status="failed")
    answers = run("RetryJobs", ids=ids, **RETRY)
    assert [answer["done"] for answer in answers] == [True, False]
    assert [job_of(id_)["status"] for id_ in ids] == ["todo", "failed"]


def test_each_queue_hears_once_of_many_jobs(run: Run, ended: Ids, notified: Notified) -> None:
    ids = ended({}, {}, {"queue_name": "mail"}, {"queue_name": "mail"})
    notified()
    assert all(answer["done"] for answer in run("RetryJobs", ids=ids, **RETRY))
    assert sorted(notified()) == ["ready default", "ready mail"]


def test_a_wait_counts_from_the_statement_and_not_from_the_beginning_of_the_transaction(
    run: Run, ended: Ids, notified: Notified, connection: psycopg.Connection
) -> None:
    ids = ended({}, {})
    notified()
    with connection.transaction():
        connection.execute("SELECT 1")
        run("RetryJobs", ids=ids, **RETRY | {"retry_in": 60})
        counted = connection.execute(
            "SELECT scheduled_at - interval '60 s' > now(), "
            "scheduled_at - interval '60 s' <= clock_timestamp(), due FROM taskq_jobs"
        ).fetchall()
    assert counted == [(True, True, False)] * 2
    [heard] = notified()
    assert heard.startswith("later ")
