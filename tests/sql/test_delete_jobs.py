"""DeleteJobs and DeleteOldJobs: what does not run goes, and what is kept of it."""

from typing import Any

import psycopg
import pytest

from tests.sql.conftest import STATUSES, Ids, Notified, Run


@pytest.fixture
def left(connection: psycopg.Connection) -> Any:
    """The ids of the jobs that are left."""
    return lambda: [
        row[0] for row in connection.execute("SELECT id FROM taskq_jobs ORDER BY id").fetchall()
    ]


def test_jobs_that_do_not_run_go_with_their_failed_attempts(
    run: Run, defer: Ids, claim: Ids, finish: Ids, left: Any, connection: psycopg.Connection
) -> None:
    failed, running = defer({}, {})
    claim()
    finish(failed, status="failed", error_type="E", error_message="", error_traceback="")
    waiting, kept = defer({}, {})
    deleted = run("DeleteJobs", ids=[failed, running, waiting, 10**9], statuses=STATUSES)
    assert [row["id"] for row in deleted] == [failed, waiting]
    assert left() == [running, kept]
    assert connection.execute("SELECT FROM taskq_failed_attempts").fetchall() == []
    assert run("DeleteJobs", ids=[running, kept], statuses=["doing", "failed"]) == []


def test_what_waited_behind_a_deleted_job_is_announced(
    run: Run, defer: Ids, claim: Ids, notified: Notified
) -> None:
    first, second, third = defer({"lock": "a"}, {"lock": "a"}, {"lock": "a", "queue_name": "third"})
    notified()
    run("DeleteJobs", ids=[first, second], statuses=STATUSES)
    assert notified() == ["ready third"]
    assert claim() == [third]


@pytest.fixture
def aged(connection: psycopg.Connection) -> Any:
    """Inserts a job for each of these ages in days, the oldest first; returns their ids."""

    def insert(status: str, *ages: float) -> list[int]:
        return [
            row[0]
            for row in connection.execute(
                """
                INSERT INTO taskq_jobs
                    (queue_name, task_name, args, status, deferred_at, finished_at)
                SELECT 'default', 'noop', '{}', %s, now() - age * interval '1 day',
                       now() - age * interval '1 day'
                FROM unnest(%s::float[]) AS age
                RETURNING id
                """,
                [status, [float(age) for age in ages]],
            ).fetchall()
        ]

    return insert


OLD = {"older_than": 86400, "queue_name": None, "after": 0, "max_jobs": 100, "max_scanned": 100}


@pytest.mark.parametrize("status", ["succeeded", "failed"])
def test_old_jobs_go_in_the_order_of_ids_and_it_is_said_how_far(
    run: Run, aged: Any, left: Any, status: str
) -> None:
    ids = aged(status, 5, 4, 3, 0.9)
    [answer] = run("DeleteOldJobs", status=status, **OLD | {"max_jobs": 2})
    assert answer == {"jobs": 2, "reached": ids[1], "is_end": False, "resume_after": ids[1]}
    [answer] = run("DeleteOldJobs", status=status, **OLD | {"after": ids[1], "max_scanned": 1})
    assert answer == {"jobs": 1, "reached": ids[2], "is_end": False, "resume_after": ids[2]}
    [answer] = run("DeleteOldJobs", status=status, **OLD | {"after": ids[2]})
    assert answer["is_end"]
    assert (answer["jobs"], answer["resume_after"]) == (0, ids[2])
    assert left() == ids[3:]


def test_where_a_job_was_deferred_too_late_it_is_the_end(
    run: Run, aged: Any, connection: psycopg.Connection
) -> None:
    """Though there are more of the status beyond, as far as it looks."""
    ids = aged("succeeded", 5, *[0.5] * 10)
    [answer] = run("DeleteOldJobs", status="succeeded", **OLD | {"max_scanned": 3})
    assert answer == {"jobs": 1, "reached": ids[2], "is_end": True, "resume_after": ids[0]}


def test_a_job_that_is_not_old_enough_yet_is_looked_at_again(
    run: Run, aged: Any, left: Any, connection: psycopg.Connection
) -> None:
    """One that was deferred before the time and finished after it."""
    ids = aged("succeeded", 5, 1.01, 0.5)
    connection.execute("UPDATE taskq_jobs SET finished_at = now() WHERE id = %s", [ids[1]])
    [answer] = run("DeleteOldJobs", status="succeeded", **OLD)
    assert (answer["is_end"], answer["resume_after"]) == (True, ids[0])
    assert left() == ids[1:]


def test_old_jobs_of_one_queue_go_alone(
    run: Run, aged: Any, left: Any, connection: psycopg.Connection
) -> None:
    ids = aged("succeeded", 5, 4)
    connection.execute("UPDATE taskq_jobs SET queue_name = 'mail' WHERE id = %s", [ids[1]])
    [answer] = run("DeleteOldJobs", status="succeeded", **OLD | {"queue_name": "mail"})
    assert (answer["jobs"], answer["is_end"]) == (1, True)
    assert left() == ids[:1]


def test_in_an_empty_table_it_is_the_end(run: Run) -> None:
    [answer] = run("DeleteOldJobs", status="succeeded", **OLD | {"after": 7})
    assert answer == {"jobs": 0, "reached": 7, "is_end": True, "resume_after": 7}
