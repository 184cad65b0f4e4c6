"""Counts, queues, tasks, locks and workers, and which of the numbers are estimates."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, queries
from taskq.exceptions import InvalidFilter
from taskq.manager import JobManager
from taskq.queries.job_count import JobCounts, LockState
from tests.sql.crowds import insert

LATER = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


def defer(app: App, count: int = 1, *, task: str = "noop", **options: Any) -> list[int]:
    ids: list[int] = app.configure_task(task, **options).batch_defer(*[{}] * count)
    return ids


@pytest.fixture
def big(connection: psycopg.Connection) -> None:
    """A table of more than 1,000 pages: 9,000 jobs that succeeded to 3,000 that failed, and a few others."""
    text = {"args": "jsonb_build_object('text', repeat(md5(n::text), 30))"}
    status = "(CASE WHEN n % 4 = 0 THEN 'failed' ELSE 'succeeded' END)::taskq_job_status"
    insert(connection, 12_000, status=status, finished_at="now()", queue="'q' || n % 3", **text)
    insert(connection, 40, status="'cancelled'", queue="'rare'")
    insert(connection, 30, queue="'rare'")
    insert(connection, 20, queue="'rare'", lock="'l'")
    insert(connection, 10, queue="'rare'", scheduled_at="now() + interval '1 day'", due="false")
    insert(connection, 5, queue="'rare'", status="'doing'", worker_id="1", started_at="now()")


def test_of_a_big_table_what_waits_and_runs_is_counted_and_what_has_finished_estimated(
    jobs: JobManager, big: None
) -> None:
    counts = jobs.count_jobs()
    rare = {status: counts.get(("rare", "noop", status)) for status in JobStatus}
    assert rare == {
        JobStatus.TODO: 60,
        JobStatus.DOING: 5,
        JobStatus.CANCELLED: 40,
        JobStatus.SUCCEEDED: None,
        JobStatus.FAILED: None,
        JobStatus.ABORTED: None,
    }
    assert counts.estimated == {
        (f"q{number}", "noop", status)
        for number in range(3)
        for status in (JobStatus.SUCCEEDED, JobStatus.FAILED)
    }
    for number in range(3):
        assert 2500 < counts[f"q{number}", "noop", JobStatus.SUCCEEDED] < 3500
        assert 800 < counts[f"q{number}", "noop", JobStatus.FAILED] < 1200
    assert "in part estimated" in repr(counts)


def test_what_is_asked_for_alone_is_counted_alone(jobs: JobManager, big: None) -> None:
    assert jobs.count_jobs(queue="rare", status=["todo", "cancelled"]) == {
        ("rare", "noop", JobStatus.TODO): 60,
        ("rare", "noop", JobStatus.CANCELLED): 40,
    }
    waiting = {("rare", "noop", JobStatus.TODO): 20}
    assert jobs.count_jobs(lock="l") == waiting
    assert jobs.count_jobs(ids=range(12_001, 12_045)) == {
        ("rare", "noop", JobStatus.CANCELLED): 40,
        ("rare", "noop", JobStatus.TODO): 4,
    }
    third = jobs.count_jobs(finished_after=datetime.now(UTC) - timedelta(hours=1), queue="q0")
    assert {key[2] for key in third.estimated} == {JobStatus.SUCCEEDED, JobStatus.FAILED}
    assert jobs.count_jobs(worker_id=1) == {("rare", "noop", JobStatus.DOING): 5}
    assert jobs.count_jobs(queue="none") == {}


def test_in_a_small_table_everything_is_counted(app: App, jobs: JobManager) -> None:
    defer(app, 3)
    jobs.cancel_jobs(task="noop")
    claimed = [*defer(app, 2), *defer(app)]
    jobs.fetch(1, max_jobs=9)
    assert len(claimed) == 3
    counts = jobs.count_jobs()
    assert isinstance(counts, JobCounts)
    assert counts == {
        ("default", "noop", JobStatus.CANCELLED): 3,
        ("default", "noop", JobStatus.DOING): 3,
    }
    assert counts.estimated == frozenset()
    assert sum(counts.values()) == 6


async def test_queues_and_tasks_are_listed_with_what_there_is_of_them(
    app: App, jobs: JobManager, connection: psycopg.Connection
) -> None:
    defer(app, 2, task="b", queue="mail")
    defer(app, 1, task="a", queue="mail", schedule_at=LATER)
    defer(app, 1, task="a", queue="slow")
    jobs.cancel_jobs(queue="slow")
    connection.execute(
        "UPDATE taskq_jobs SET deferred_at = now() - interval '90 s' WHERE id = "
        "(SELECT min(id) FROM taskq_jobs)"
    )
    mail, slow = jobs.list_queues()
    assert (mail.name, slow.name) == ("mail", "slow")
    nothing = dict.fromkeys(JobStatus, 0)
    assert mail.jobs == nothing | {JobStatus.TODO: 3}
    assert slow.jobs == nothing | {JobStatus.CANCELLED: 1}
    assert mail.estimated == slow.estimated == frozenset()
    assert mail.longest_wait is not None
    assert 90 <= mail.longest_wait < 200
    assert slow.longest_wait is None
    a, b = jobs.list_tasks()
    assert (a.name, a.jobs, a.longest_wait) == (
        "a",
        nothing | {JobStatus.TODO: 1, JobStatus.CANCELLED: 1},
        None,
    )
    assert (b.name, b.jobs[JobStatus.TODO]) == ("b", 2)
    assert [tally.name for tally in jobs.list_tasks(queue="slow")] == ["a"]
    assert [tally.name for tally in await jobs.list_tasks_async(queue="slow")] == ["a"]
    assert [tally.name for tally in await jobs.list_queues_async(task="b")] == ["mail"]
    await app.database.dispose_async()


def test_a_job_that_was_retried_waits_since_then(
    app: App, jobs: JobManager, connection: psycopg.Connection
) -> None:
    [id_] = defer(app)
    jobs.cancel_job_by_id(id_)
    connection.execute("UPDATE taskq_jobs SET deferred_at = now() - interval '1 day'")
    jobs.retry_job_by_id(id_)
    [queue] = jobs.list_queues()
    assert queue.longest_wait is not None
    assert queue.longest_wait < 3600


def test_locks_are_listed_by_how_many_wait_for_them(app: App, jobs: JobManager) -> None:
    defer(app, 2, lock="few")
    defer(app, 1, lock="many", schedule_at=LATER, priority=-1)
    defer(app, 3, lock="many")
    [alone] = defer(app, lock="alone", priority=9)
    assert [job.id for job in jobs.fetch(1)] == [alone]
    states = [
        LockState(lock="many", held_by=None, waiting=4),
        LockState(lock="few", held_by=None, waiting=2),
        LockState(lock="alone", held_by=alone, waiting=0),
    ]
    assert jobs.list_locks() == states
    assert jobs.list_locks(limit=1) == states[:1]
    with pytest.raises(InvalidFilter, match="limit=0"):
        jobs.list_locks(limit=0)


def test_workers_are_listed_with_what_they_have_in_hand(
    app: App, jobs: JobManager, connection: psycopg.Connection
) -> None:
    with app.database.engine.connect() as own:
        one = queries.workers.register_worker(own, "one", ["mail"], 1).id
        two = queries.workers.register_worker(own, "two", None, 1).id
    connection.execute(
        "UPDATE taskq_workers SET last_heartbeat = now() - interval '1 min' WHERE id = %s", [two]
    )
    defer(app, 2)
    jobs.fetch(two, max_jobs=9)
    first, second = jobs.list_workers()
    assert (first.id, first.name, first.queues, first.doing) == (one, "one", ["mail"], 0)
    assert (second.id, second.name, second.queues, second.doing) == (two, "two", None, 2)
    assert 0 <= first.seconds_since_heartbeat < 30
    assert 60 <= second.seconds_since_heartbeat < 90
    assert first.started_at == first.last_heartbeat


def test_the_jobs_of_workers_that_died_are_stalled(
    app: App, jobs: JobManager, connection: psycopg.Connection
) -> None:
    with app.database.engine.connect() as own:
        alive = queries.workers.register_worker(own, "alive", None, 1).id
        dead = queries.workers.register_worker(own, "dead", None, 1).id
    ids = defer(app, 2, queue="mail") + defer(app, 1)
    jobs.fetch(dead, max_jobs=3)
    defer(app)
    jobs.fetch(alive)
    assert jobs.get_stalled_jobs() == []
    connection.execute(
        "UPDATE taskq_workers SET last_heartbeat = now() - interval '1 min' WHERE id = %s", [dead]
    )
    assert [job.id for job in jobs.get_stalled_jobs()] == ids
    assert [job.id for job in jobs.get_stalled_jobs(queue="mail")] == ids[:2]
    assert jobs.get_stalled_jobs(task="other") == []
    assert jobs.get_stalled_jobs(seconds_since_heartbeat=120) == []
    connection.execute("DELETE FROM taskq_workers")
    assert jobs.get_stalled_jobs() == [], "it may only not be registered yet"
    assert len(jobs.get_stalled_jobs(seconds_since_heartbeat=0)) == 4
