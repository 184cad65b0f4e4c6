"""RescheduleJobs: a job that waits gets another time, priority or queue, and workers hear of it."""

import psycopg
import pytest

from tests.sql.conftest import Ids, JobOf, Notified, Run

SAME = {
    "statuses": ["todo", "doing", "succeeded", "failed", "cancelled", "aborted"],
    "schedule_at": None,
    "schedule_in": None,
    "priority": None,
    "queue_name": None,
}
LATER = "2100-01-01T00:00:00Z"


def test_a_job_for_later_is_moved_to_now(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf, notified: Notified
) -> None:
    [id_] = defer({"scheduled_at": LATER})
    notified()
    [answer] = run("RescheduleJobs", ids=[id_], **SAME | {"schedule_in": 0})
    assert (answer["done"], answer["status"]) == (True, "todo")
    assert notified() == ["ready default"]
    assert job_of(id_)["due"]
    assert claim() == [id_]


def test_a_job_that_is_due_is_moved_to_later(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf, notified: Notified
) -> None:
    [id_] = defer({})
    notified()
    run("RescheduleJobs", ids=[id_], **SAME | {"schedule_in": 3600})
    job = job_of(id_)
    assert not job["due"]
    assert 3590 < (job["scheduled_at"] - job["deferred_at"]).total_seconds() < 3700
    [heard] = notified()
    assert heard == f"later {job['scheduled_at'].timestamp():.6f} default"
    assert claim() == []


def test_another_queue_and_priority_leave_the_time_as_it_is(
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    notified: Notified,
    connection: psycopg.Connection,
) -> None:
    later, due = defer({"scheduled_at": LATER}, {})
    before = job_of(later)
    connection.execute("UPDATE taskq_jobs SET given_back = 2")
    notified()
    run("RescheduleJobs", ids=[later], **SAME | {"priority": 4, "queue_name": "fast"})
    assert job_of(later) == before | {"priority": 4, "queue_name": "fast"}
    run("RescheduleJobs", ids=[due], **SAME | {"queue_name": "fast"})
    assert notified()[1:] == ["ready fast"]
    assert claim(queue_names=["fast"]) == [due]


@pytest.mark.parametrize("status", ["doing", "succeeded", "failed", "cancelled", "aborted"])
def test_a_job_that_does_not_wait_stays_as_it_is(
    run: Run,
    defer: Ids,
    claim: Ids,
    job_of: JobOf,
    notified: Notified,
    connection: psycopg.Connection,
    status: str,
) -> None:
    [id_] = defer({})
    claim()
    connection.execute("UPDATE taskq_jobs SET status = %s", [status])
    before = job_of(id_)
    notified()
    [answer] = run("RescheduleJobs", ids=[id_], **SAME | {"schedule_in": 9, "priority": 1})
    assert (answer["done"], answer["status"]) == (False, status)
    assert job_of(id_) == before
    assert notified() == []
    assert run("RescheduleJobs", ids=[10**9], **SAME) == []


def test_what_waited_behind_a_job_that_is_no_longer_first_is_announced(
    run: Run, defer: Ids, claim: Ids, notified: Notified
) -> None:
    first, second = defer(
        {"lock": "a", "scheduled_at": LATER, "priority": 5}, {"lock": "a", "queue_name": "second"}
    )
    assert claim() == [], "its head is for later"
    notified()
    [answer] = run("RescheduleJobs", ids=[first], **SAME | {"priority": -1})
    assert answer["announced"] == 2
    assert notified()[1:] == ["ready second"]
    assert claim() == [second]


def test_a_wait_counts_from_the_statement_and_not_from_the_beginning_of_the_transaction(
    run: Run, defer: Ids, connection: psycopg.Connection
) -> None:
    [id_] = defer({})
    with connection.transaction():
        connection.execute("SELECT 1")
        run("RescheduleJobs", ids=[id_], **SAME | {"schedule_in": 60})
        counted = connection.execute(
            "SELECT scheduled_at - interval '60 s' > now(), due FROM taskq_jobs"
        ).fetchall()
    assert counted == [(True, False)]
