"""What claims make of jobs whose task is paused."""

import psycopg
import pytest

from tests.sql.conftest import Connect, Ids, JobOf, Run


@pytest.fixture(autouse=True)
def paused(run: Run) -> None:
    """The task that is called slow is paused."""
    run("Pause", kind="task", name="slow", paused_by=None, reason=None)


SLOW = {"task_name": "slow"}


def resume(run: Run) -> bool:
    [row] = run("ResumeTask", name="slow")
    return bool(row["done"])


def test_jobs_of_a_paused_task_are_passed_over_and_claimed_when_it_is_resumed(
    defer: Ids, claim: Ids, run: Run
) -> None:
    first, second, other = defer(SLOW, SLOW, {})
    assert claim() == [other]
    assert claim() == []
    assert not run("HasReadyJobs", queue_names=None)[0]["ready"]
    assert resume(run)
    assert claim() == [first, second]
    assert not resume(run)


def test_thousands_of_jobs_of_a_paused_task_are_out_of_the_way_of_claims(
    defer: Ids, claim: Ids, run: Run, connection: psycopg.Connection
) -> None:
    defer(*[SLOW] * 3000)
    [other] = defer({})
    assert claim() == [other]
    assert connection.execute("SELECT count(*) FROM taskq_ready").fetchone() == (0,)


def test_a_head_of_a_lock_whose_task_is_paused_holds_those_behind_it(
    defer: Ids, claim: Ids, run: Run, finish: Ids
) -> None:
    head, follower = defer({"lock": "a"} | SLOW, {"lock": "a"})
    assert claim() == []
    assert claim() == []
    resume(run)
    assert claim() == [head]
    finish(head)
    assert claim() == [follower]


def test_a_run_of_a_lock_ends_before_a_job_whose_task_is_paused(defer: Ids, claim: Ids) -> None:
    first, *_ = defer({"lock": "a"}, {"lock": "a"} | SLOW, {"lock": "a"})
    assert claim(run_length=10) == [first]


def test_jobs_of_a_limit_whose_task_is_paused_take_no_room(
    defer: Ids, claim: Ids, run: Run
) -> None:
    run("DeclareLimits", limits='[{"limit_key": "tenant", "concurrency": 1}]', declared_by="test")
    limit = {"limit": "tenant"}
    slow, other, locked = defer(limit | SLOW, limit, limit | SLOW | {"lock": "a"})
    assert claim() == [other]
    run(
        "FinishJobs",
        worker_id=1,
        outcomes=f'[{{"job_id": {other}, "claim": 1, "status": "succeeded"}}]',
    )
    assert claim() == []
    resume(run)
    assert claim() == [slow]
    run(
        "FinishJobs",
        worker_id=1,
        outcomes=f'[{{"job_id": {slow}, "claim": 1, "status": "succeeded"}}]',
    )
    assert claim() == [locked]


def test_a_job_that_was_cancelled_while_its_task_was_paused_can_be_retried_after_that(
    defer: Ids, claim: Ids, run: Run, job_of: JobOf
) -> None:
    [id_] = defer(SLOW)
    claim()
    assert job_of(id_)["paused"]
    run("CancelJobs", ids=[id_], statuses=["todo"], delete_job=False, abort=False)
    resume(run)
    nothing = dict.fromkeys(("retry_at", "retry_in", "priority", "queue_name", "lock"))
    run("RetryJobs", **nothing | {"ids": [id_], "statuses": ["cancelled"]})
    assert claim() == [id_]


def test_a_claim_that_has_seen_the_pause_forgets_no_job_of_a_task_that_is_just_resumed(
    connect: Connect, connection: psycopg.Connection, defer: Ids, claim: Ids, run: Run
) -> None:
    other = connect()
    [id_] = defer(SLOW)
    other.execute("BEGIN")
    other.execute("DELETE FROM taskq_pauses WHERE name = 'slow'")
    # The claim still sees the pause, and cannot lock it: it neither takes the job nor marks it.
    assert claim() == []
    other.execute("COMMIT")
    assert claim() == [id_]


def test_a_resumption_waits_for_a_claim_that_marks_jobs_and_lets_them_in(
    connect: Connect, defer: Ids, claim: Ids, run: Run
) -> None:
    claiming = connect()
    [id_] = defer(SLOW)
    claiming.execute("BEGIN")
    claiming.execute("SELECT taskq_bar_paused_jobs(ARRAY[%s::bigint])", [id_])
    resuming = connect()
    resuming.execute("SET lock_timeout = '100ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        resuming.execute("DELETE FROM taskq_pauses WHERE name = 'slow'")
    claiming.execute("COMMIT")
    resume(run)
    assert claim() == [id_]
