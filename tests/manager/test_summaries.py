"""What jobs did that ended lately, and the newest of each task."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest

from taskq import App
from taskq.exceptions import InvalidFilter
from taskq.job import JobStatus
from tests.sql.crowds import insert

ENDED = {"finished_at": "now() - interval '5 min'", "worker_id": "1"}


def test_few_jobs_are_counted_and_timed_exactly(app: App, connection: psycopg.Connection) -> None:
    for seconds in range(1, 21):
        insert(
            connection,
            1,
            queue="'mail'",
            status="'failed'" if seconds > 15 else "'succeeded'",
            started_at=f"now() - interval '5 min {seconds} s'",
            **ENDED,
        )
    insert(connection, 2, queue="'mail'", status="'cancelled'", finished_at="now()")
    insert(connection, 7, queue="'old'", status="'succeeded'", finished_at="now() - interval '3 h'")
    insert(connection, 3, queue="'mail'")
    [mail] = app.job_manager.summarize_ended("queue")
    assert (mail.name, mail.jobs, mail.failed, mail.is_estimate) == ("mail", 22, 5, False)
    assert mail.median == pytest.approx(10)
    assert mail.p95 == pytest.approx(19)
    assert sum(span.jobs for span in app.job_manager.summarize_ended("time")) == 22
    mail, old = app.job_manager.summarize_ended("queue", window=timedelta(days=1))
    assert (old.name, old.jobs, old.median) == ("old", 7, None)


def test_of_many_jobs_a_sample_tells_how_many_ended(
    app: App, connection: psycopg.Connection
) -> None:
    kinds = {
        "status": "'succeeded'",
        "task_name": "'task ' || n % 2",
        "started_at": "now() - interval '1 h'",
    }
    # More than are looked at: for a while, in one moment as by an operator, and few of them.
    insert(
        connection, 20_000, finished_at="now() - interval '30 min' + n * interval '3 ms'", **kinds
    )
    insert(connection, 18_000, finished_at="now() - interval '10 min'", **kinds)
    insert(connection, 2_000, finished_at="now() - interval '20 min'", **kinds)
    insert(connection, 5_000, status="'todo'")
    connection.execute("ANALYZE taskq_jobs")
    tasks = app.job_manager.summarize_ended("task")
    assert [task.name for task in tasks] == ["task 0", "task 1"]
    for task in tasks:
        assert task.is_estimate
        assert 20_000 * 0.7 < task.jobs < 20_000 * 1.3
        assert 1800 <= (task.median or 0) <= 3000


@pytest.mark.parametrize("wrong", [{"by": "lock"}, {"by": "queue", "window": timedelta(seconds=1)}])
def test_what_cannot_be_summarized_is_refused(app: App, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidFilter):
        app.job_manager.summarize_ended(**wrong)


async def test_the_newest_job_of_each_task_is_found(
    app: App, connection: psycopg.Connection
) -> None:
    insert(connection, 5, task_name="'task ' || n % 2")
    latest = await app.job_manager.list_latest_jobs_async(["task 0", "task 1", "none"])
    assert {name: job.id for name, job in latest.items()} == {"task 0": 4, "task 1": 5}
    assert latest["task 1"].status is JobStatus.TODO


def test_jobs_are_found_by_a_text_in_their_errors(app: App, connection: psycopg.Connection) -> None:
    insert(connection, 3, status="'failed'", finished_at="now()")
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, error_type, error_message, error_traceback) VALUES "
        "(1, 1, 1, 1, 'builtins.ValueError', 'No address: 100% of it', ''),"
        "(2, 1, 1, 1, 'shop.Refused', 'card', ''), (2, 2, 2, 1, 'shop.Lost', 'line', '')"
    )
    jobs = app.job_manager
    found = {
        text: [job.id for job in jobs.list_jobs(error=text)]
        for text in ("no ADDRESS", "100%", "refused", "lost: line", "error", "%")
    }
    assert found == {
        "no ADDRESS": [1],
        "100%": [1],
        "refused": [2],
        "lost: line": [2],
        "error": [1],
        "%": [1],
    }
    assert sum(jobs.count_jobs(error="card").values()) == 1
    assert jobs.delete_jobs(error="card", status="failed") == 1


def test_many_jobs_are_rescheduled_at_once(app: App, connection: psycopg.Connection) -> None:
    insert(connection, 3, lock="'l' || n % 2")
    insert(connection, 1, status="'failed'", finished_at="now()")
    jobs = app.job_manager
    assert jobs.reschedule_jobs(task="noop", schedule_in={"hours": 1}, new_queue="slow") == 3
    assert {(job.queue, job.status.value) for job in jobs.list_jobs()} == {
        ("slow", "todo"),
        ("default", "failed"),
    }
    assert jobs.reschedule_jobs(ids=[1, 4], priority=7) == 1
    assert jobs.get_job(1).priority == 7
    for wrong in ({"priority": 1}, {"status": "failed", "priority": 1}):
        with pytest.raises(InvalidFilter):
            jobs.reschedule_jobs(**wrong)
