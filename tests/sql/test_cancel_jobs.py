"""CancelJobs: a job that waits ends at once, one that runs is asked to."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.conftest import STATUSES, Connect, Ids, JobOf, Notified, Run
from tests.sql.sqlc import Query

CANCEL = {"statuses": STATUSES, "abort": False, "delete_job": False}


def test_a_job_that_waits_is_cancelled(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf, notified: Notified
) -> None:
    [id_] = defer({"lock": "a", "queueing_lock": "q"})
    notified()
    assert run("CancelJobs", ids=[id_], **CANCEL)[0]["done"]
    assert job_of(id_)["status"] == "cancelled"
    assert job_of(id_)["finished_at"] >= job_of(id_)["deferred_at"]
    assert notified() == [], "no job waits behind it"
    assert claim() == []
    assert len(defer({"queueing_lock": "q"})) == 1


def test_a_job_that_waits_is_deleted_if_so_wished(run: Run, defer: Ids) -> None:
    id_, other = defer({}, {"scheduled_at": "2100-01-01T00:00:00Z"})
    assert run("CancelJobs", ids=[id_], statuses=STATUSES, abort=False, delete_job=True)[0]["done"]
    assert run("GetJob", id=id_) == []
    assert len(run("GetJob", id=other)) == 1


@pytest.mark.parametrize("delete_job", [False, True])
def test_a_job_that_runs_is_left_alone_unless_it_is_to_be_aborted(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf, notified: Notified, delete_job: bool
) -> None:
    [id_] = defer({})
    claim(worker_id=42)
    claimed = job_of(id_)
    notified()

    [answer] = run("CancelJobs", ids=[id_], statuses=STATUSES, abort=False, delete_job=delete_job)
    assert (answer["done"], answer["status"]) == (False, "doing")
    assert job_of(id_) == claimed
    assert notified() == []

    [answer] = run("CancelJobs", ids=[id_], statuses=STATUSES, abort=True, delete_job=delete_job)
    assert (answer["done"], answer["status"]) == (True, "doing")
    assert job_of(id_) == claimed | {"abort_requested": True}
    assert notified() == ["abort 42"]
    [doing] = run("ListDoingJobs", worker_id=42)
    assert doing == {"id": id_, "claim": 1, "lock": None, "abort_requested": True}
    assert run("ListDoingJobs", worker_id=1) == []


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "aborted"])
def test_a_job_that_is_over_stays_as_it_ended(
    run: Run,
    defer: Ids,
    claim: Ids,
    finish: Ids,
    job_of: JobOf,
    notified: Notified,
    status: str,
) -> None:
    [id_] = defer({})
    claim()
    finish(id_, status=status)
    over = job_of(id_)
    notified()
    [answer] = run("CancelJobs", ids=[id_], statuses=STATUSES, abort=True, delete_job=True)
    assert (answer["done"], answer["status"]) == (False, status)
    assert job_of(id_) == over
    assert notified() == []


def test_an_unknown_job_has_no_answer(run: Run) -> None:
    assert run("CancelJobs", ids=[1], statuses=STATUSES, abort=True, delete_job=True) == []


@pytest.mark.parametrize("delete_job", [False, True])
@pytest.mark.parametrize("head", [{}, {"scheduled_at": "2100-01-01T00:00:00Z"}])
def test_what_waited_behind_a_cancelled_job_is_announced(
    run: Run,
    defer: Ids,
    claim: Ids,
    notified: Notified,
    head: dict[str, Any],
    delete_job: bool,
) -> None:
    first, _, next_ = defer(
        {"lock": "a", "priority": 9, **head},
        {"lock": "a", "queue_name": "third"},
        {"lock": "a", "queue_name": "second", "priority": 1},
    )
    notified()
    [answer] = run("CancelJobs", ids=[first], statuses=STATUSES, abort=False, delete_job=delete_job)
    assert (answer["done"], answer["opened"]) == (True, 1)
    assert notified() == ["ready second"]
    assert claim() == [next_]


def test_a_follower_that_is_for_later_is_not_announced(
    run: Run, defer: Ids, notified: Notified, connection: psycopg.Connection
) -> None:
    first, _ = defer({"lock": "a"}, {"lock": "a", "scheduled_at": "2100-01-01T00:00:00Z"})
    notified()
    assert run("CancelJobs", ids=[first], **CANCEL)[0]["opened"] == 0
    assert notified() == []


def test_a_job_that_is_claimed_while_it_is_cancelled_is_aborted(
    connect: Connect, queries: dict[str, Query], defer: Ids, job_of: JobOf, notified: Notified
) -> None:
    [id_] = defer({})
    notified()
    claiming, cancelling, observer = connect(), connect(), connect()
    with ThreadPoolExecutor() as pool:
        with claiming.transaction():
            sqlc.claim(claiming, worker_id=7, max_jobs=1)
            late = pool.submit(
                queries["CancelJobs"].run,
                cancelling,
                ids=[id_],
                statuses=STATUSES,
                abort=True,
                delete_job=False,
            )
            blocked_by: tuple[Any, ...] | None = None
            while blocked_by != ([claiming.info.backend_pid],):
                assert not late.done(), late.result()
                blocked_by = observer.execute(
                    "SELECT pg_blocking_pids(%s)", [cancelling.info.backend_pid]
                ).fetchone()
        [answer] = late.result(timeout=10)
    assert (answer["done"], answer["status"]) == (True, "doing")
    assert job_of(id_)["abort_requested"]
    assert notified() == ["abort 7"]


def test_of_many_jobs_each_is_cancelled_or_aborted_and_each_worker_told_once(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf, notified: Notified
) -> None:
    running = defer(*[{}] * 3)
    assert claim() == running
    waiting = defer({"lock": "a"}, {"lock": "a"}, {"lock": "a", "queue_name": "next"}, {})
    notified()
    ids = [*waiting[:2], *running[:2], waiting[3], 10**9]
    answers = run("CancelJobs", ids=ids, statuses=STATUSES, abort=True, delete_job=False)
    assert [(answer["id"], answer["done"]) for answer in answers] == [
        (id_, True) for id_ in sorted(ids[:-1])
    ]
    assert [job_of(id_)["status"] for id_ in waiting] == ["cancelled"] * 2 + ["todo", "cancelled"]
    assert [job_of(id_)["abort_requested"] for id_ in running] == [True, True, False]
    assert sorted(notified()) == ["abort 1", "ready next"]


def test_a_job_that_has_another_status_by_now_is_left_alone(
    run: Run, defer: Ids, claim: Ids, job_of: JobOf
) -> None:
    [id_] = defer({})
    claim()
    assert run("CancelJobs", ids=[id_], statuses=["todo"], abort=True, delete_job=False) == []
    assert not job_of(id_)["abort_requested"]
