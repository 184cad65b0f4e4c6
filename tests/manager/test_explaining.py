"""Why a job does not run: one test for each reason."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from taskq import App, JobNotFound, JobStatus, Limit, queries
from taskq.exceptions import InvalidFilter
from taskq.manager import Explanation, Outcome, WaitReason
from taskq.task import Task

Note = Task[[], None]


@pytest.fixture
def note(app: App) -> Note:
    @app.task(name="note")
    def note() -> None: ...

    return note


@pytest.fixture(autouse=True)
def worker(connection: psycopg.Connection) -> int:
    """A worker that is alive, for two jobs at once of the queue ``default``."""
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, concurrency) VALUES (7, 'w', '{default}', 2)"
    )
    return 7


def declare(app: App, **queue_limits: Limit) -> None:
    """Say what the limits that the app knows allow, as its worker does when it starts."""
    with app.database.engine.begin() as connection:
        queries.limits.declare_limits(connection, app.limits, queue_limits, declared_by="w")


def explained(app: App, job_id: int) -> Explanation:
    explanation = app.job_manager.explain_job(job_id)
    assert explanation.job_id == job_id
    return explanation


def test_it_has_ended(app: App, note: Note, worker: int) -> None:
    job_id = note.defer()
    [job] = app.job_manager.fetch(worker)
    app.job_manager.finish(
        worker, [Outcome(job_id=job_id, claim=job.claim, status=JobStatus.SUCCEEDED)]
    )
    said = explained(app, job_id)
    assert (said.reason, said.text) == (WaitReason.FINISHED, "it has ended, as succeeded")
    assert said.at == app.job_manager.get_job(job_id).finished_at


def test_it_runs(app: App, note: Note, worker: int) -> None:
    job_id = note.defer()
    app.job_manager.fetch(worker)
    said = explained(app, job_id)
    assert (said.reason, said.text) == (WaitReason.RUNNING, "it runs in worker 7")
    assert (said.worker_id, said.at) == (7, app.job_manager.get_job(job_id).started_at)


def test_its_worker_is_dead(app: App, note: Note, connection: psycopg.Connection) -> None:
    job_id = note.defer()
    app.job_manager.fetch(7)
    connection.execute("UPDATE taskq_workers SET last_heartbeat = now() - interval '1 minute'")
    assert explained(app, job_id).reason is WaitReason.STALLED
    of_old = app.job_manager.explain_job(job_id, seconds_since_heartbeat=120)
    assert of_old.reason is WaitReason.RUNNING


def test_it_is_scheduled_for_later(app: App, note: Note) -> None:
    at = datetime(2100, 1, 1, tzinfo=UTC)
    said = explained(app, note.configure(schedule_at=at).defer())
    assert (said.reason, said.at) == (WaitReason.SCHEDULED, at)
    assert said.text == "it is scheduled for 2100-01-01 00:00:00+00:00"


def test_it_is_behind_the_first_of_its_lock_which_has_a_reason_of_its_own(
    app: App, note: Note
) -> None:
    locked = note.configure(lock="a")
    head = locked.configure(schedule_in={"hours": 1}, priority=1).defer()
    job_id = locked.defer()
    said = explained(app, job_id)
    assert (said.reason, said.blocked_by) == (WaitReason.BEHIND_IN_LOCK, head)
    assert said.because == explained(app, head)
    assert said.because.reason is WaitReason.SCHEDULED
    assert f"behind job {head} in its lock, which waits: it is scheduled for" in said.text


def test_its_lock_is_held(app: App, note: Note, worker: int) -> None:
    holder, first, second = (note.configure(lock="a").defer() for _ in range(3))
    app.job_manager.fetch(worker)
    said = explained(app, first)
    assert (said.reason, said.blocked_by, said.worker_id) == (WaitReason.LOCK_HELD, holder, 7)
    assert said.text == f"its lock is held by job {holder}, in worker 7"
    behind = explained(app, second)
    assert (behind.blocked_by, behind.because) == (first, said)


def test_its_queue_is_paused(app: App, note: Note) -> None:
    job_id = note.defer()
    app.job_manager.pause_queue("default", by="ada", reason="the relay is down")
    said = explained(app, job_id)
    [pause] = app.job_manager.list_pauses()
    assert (said.reason, said.pause, said.at) == (WaitReason.QUEUE_PAUSED, pause, pause.paused_at)
    assert said.text.startswith("its queue 'default' is paused, since ")
    assert said.text.endswith(" by ada: the relay is down")


def test_its_task_is_paused(app: App, note: Note) -> None:
    job_id = note.defer()
    app.job_manager.pause_task("note", by="ada", reason="it sends twice")
    said = explained(app, job_id)
    [pause] = app.job_manager.list_pauses()
    assert (said.reason, said.pause, said.at) == (WaitReason.TASK_PAUSED, pause, pause.paused_at)
    assert said.text.startswith("its task 'note' is paused, since ")
    assert said.text.endswith(" by ada: it sends twice")


def test_as_many_of_its_limit_run_as_may(app: App, note: Note, worker: int) -> None:
    limited = note.configure(limit=Limit("tenant", concurrency=2), limit_key="acme")
    first, second, job_id = (limited.defer() for _ in range(3))
    declare(app)
    app.job_manager.fetch(worker, max_jobs=3)
    said = explained(app, job_id)
    assert (said.reason, said.limit_key) == (WaitReason.LIMIT_FULL, "tenant:acme")
    assert said.running == (first, second)
    assert said.text == f"2 of 2 of the limit tenant:acme run: jobs {first}, {second}"


def test_as_many_of_the_limit_of_its_queue_run_as_may(app: App, note: Note, worker: int) -> None:
    limit = Limit("small", concurrency=1)
    running, job_id = note.defer(), note.defer()
    app.job_manager.limits.add(limit)
    declare(app, default=limit)
    app.job_manager.fetch(worker)
    said = explained(app, job_id)
    assert (said.reason, said.running) == (WaitReason.LIMIT_FULL, (running,))
    assert said.text == f"1 of 1 of the limit small of its queue run: job {running}"


def test_the_rate_of_its_limit_is_spent(app: App, note: Note, worker: int) -> None:
    limited = note.configure(limit=Limit("stripe", rate=1, per=timedelta(hours=1)))
    running, job_id = limited.defer(), limited.defer()
    declare(app)
    app.job_manager.fetch(worker)
    said = explained(app, job_id)
    assert (said.reason, said.limit_key) == (WaitReason.RATE_SPENT, "stripe")
    started = app.job_manager.get_job(running).started_at
    assert said.at is not None
    assert started is not None
    assert abs(said.at - started - timedelta(hours=1)) < timedelta(milliseconds=1)
    assert said.text.startswith("the rate of the limit stripe lets the next job start at ")


def test_its_limit_is_not_declared(app: App, note: Note) -> None:
    said = explained(app, note.configure(limit=Limit("stripe", concurrency=1)).defer())
    assert (said.reason, said.limit_key) == (WaitReason.LIMIT_UNKNOWN, "stripe")
    assert said.text.startswith("no app has declared the limit stripe, so no job of it starts")


def test_no_worker_knows_its_task(app: App, note: Note, worker: int) -> None:
    job_id = note.defer()
    [job] = app.job_manager.fetch(worker)
    unknown = Outcome(
        job_id=job_id, claim=job.claim, status=JobStatus.TODO, retry_in=60, given_back=2
    )
    app.job_manager.finish(worker, [unknown])
    said = explained(app, job_id)
    assert said.reason is WaitReason.TASK_UNKNOWN
    assert said.at == app.job_manager.get_job(job_id).scheduled_at
    assert "do not know its task 'note' have given it back, 2 times in a row" in said.text


@pytest.mark.parametrize(
    "why", ["queue_names = '{mail}'", "stopping = true", "last_heartbeat = now() - '1h'::interval"]
)
def test_no_worker_serves_its_queue(
    app: App, note: Note, connection: psycopg.Connection, why: str
) -> None:
    connection.execute(f"UPDATE taskq_workers SET {why}".encode())
    said = explained(app, note.defer())
    assert (said.reason, said.workers) == (WaitReason.NO_WORKER, 0)
    assert said.text == "no worker that is alive serves its queue 'default'"


def test_the_workers_that_serve_its_queue_are_full(
    app: App, note: Note, connection: psycopg.Connection
) -> None:
    *_, job_id = note.batch_defer({}, {}, {}, {})
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, concurrency) "
        "VALUES (8, 'all', NULL, 1), (9, 'other', '{mail}', 1)"
    )
    app.job_manager.fetch(7, max_jobs=2)
    assert explained(app, job_id).reason is WaitReason.READY
    app.job_manager.fetch(8)
    said = explained(app, job_id)
    assert (said.reason, said.workers) == (WaitReason.WORKERS_FULL, 2)
    assert said.text.startswith("all 2 workers that serve its queue 'default' have as many jobs")


async def test_it_is_ready(app: App, note: Note) -> None:
    said = await app.job_manager.explain_job_async(note.configure(lock="a").defer())
    assert (said.reason, said.workers) == (WaitReason.READY, 1)


def test_one_whose_time_has_come_is_not_for_later(
    app: App, note: Note, connection: psycopg.Connection
) -> None:
    job_id = note.configure(schedule_in=timedelta(hours=1)).defer()
    connection.execute("UPDATE taskq_jobs SET scheduled_at = now()")
    assert explained(app, job_id).reason is WaitReason.READY


def test_what_is_no_job_is_refused(app: App) -> None:
    with pytest.raises(JobNotFound, match="no job has the id 5"):
        app.job_manager.explain_job(5)
    with pytest.raises(InvalidFilter, match="job_id='5'"):
        app.job_manager.explain_job("5")  # type: ignore[arg-type]
