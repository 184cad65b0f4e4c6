"""What an operator does to jobs through the job manager, by both faces of each method."""

import inspect
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, queries
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidFilter,
    InvalidJob,
    InvalidTransition,
    JobNotFound,
)
from taskq.manager import JobManager
from taskq.outcome import Outcome

TOMORROW = datetime.now(UTC) + timedelta(days=1)

Do = Callable[..., Awaitable[Any]]


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


@pytest.fixture(params=["sync", "async"])
async def do(request: pytest.FixtureRequest, app: App, jobs: JobManager) -> Any:
    """Calls a method of the job manager by its name, in one face or the other."""

    async def call(name: str, *args: Any, **kwargs: Any) -> Any:
        if request.param == "sync":
            return getattr(jobs, name)(*args, **kwargs)
        return await getattr(jobs, f"{name}_async")(*args, **kwargs)

    yield call
    await app.database.dispose_async()


def defer(app: App, count: int = 1, **options: Any) -> list[int]:
    ids: list[int] = app.configure_task("noop", **options).batch_defer(*[{}] * count)
    return ids


def end(jobs: JobManager, *ids: int, status: JobStatus = JobStatus.FAILED) -> None:
    """Run jobs that wait, and end them with a status; others are given back."""
    claimed = jobs.fetch(7, max_jobs=1000)
    outcomes = [
        Outcome(
            job_id=job.id,
            claim=job.claim,
            status=status if job.id in ids else JobStatus.TODO,
            held_lock=job.lock,
        )
        for job in claimed
    ]
    assert len(jobs.finish(7, outcomes)) == len(claimed)


def put(jobs: JobManager, app: App, status: JobStatus, **options: Any) -> int:
    """A job with this status."""
    [id_] = defer(app, **options)
    if status is JobStatus.CANCELLED:
        jobs.cancel_job_by_id(id_)
    elif status is JobStatus.DOING:
        jobs.fetch(7, max_jobs=1000)
    elif status is not JobStatus.TODO:
        end(jobs, id_, status=status)
    assert jobs.get_job_status(id_) is status
    return id_


def test_the_two_faces_of_a_method_take_the_same_and_say_the_same_of_it(jobs: JobManager) -> None:
    faces = [name for name in dir(jobs) if not name.startswith("_") and name.endswith("_async")]
    assert {"get_job_async", "retry_jobs_async", "fetch_async"} < set(faces)
    for name in faces:
        face, plain = getattr(jobs, name), getattr(jobs, name.removesuffix("_async"))
        assert inspect.signature(face) == inspect.signature(plain)
        if name != "defer_jobs_async":  # which may share a statement with others, and says so
            assert face.__doc__ == plain.__doc__
        assert inspect.iscoroutinefunction(face)
    plain_names = {name for name in dir(jobs) if not name.startswith("_")} - {
        "database",
        "in_transaction",
        "on",
        "limits",
        "defer_middleware",
        "publish_middleware",
        "keyring",
        "telemetry",
    }
    assert {f"{name}_async" for name in plain_names - set(faces)} == set(faces)


# One job


async def test_a_job_that_failed_is_retried(app: App, jobs: JobManager, do: Do) -> None:
    id_ = put(jobs, app, JobStatus.FAILED, priority=2, lock="a")
    assert await do("retry_job_by_id", id_) is None
    job = jobs.get_job(id_)
    assert (job.status, job.priority, job.lock, job.finished_at) == (JobStatus.TODO, 2, "a", None)
    [again] = jobs.fetch(7)
    assert (again.id, again.attempt) == (id_, 2)


async def test_a_retried_job_gets_what_it_is_given(app: App, jobs: JobManager, do: Do) -> None:
    id_ = put(jobs, app, JobStatus.ABORTED)
    await do("retry_job_by_id", id_, TOMORROW, priority=5, queue="slow", lock="b")
    job = jobs.get_job(id_)
    assert (job.scheduled_at, job.priority, job.queue, job.lock) == (TOMORROW, 5, "slow", "b")
    assert jobs.fetch(7) == []


@pytest.mark.usefixtures("late_clock")
async def test_a_retry_in_a_while_counts_by_the_servers_clock(
    app: App, jobs: JobManager, do: Do
) -> None:
    ids = [put(jobs, app, JobStatus.FAILED) for _ in range(2)]
    await do("retry_job_by_id", ids[0], retry_in={"minutes": 5})
    assert await do("retry_jobs", ids=ids[1:], retry_in=timedelta(minutes=5)) == 1
    for job in jobs.list_jobs(ids=ids):
        assert job.scheduled_at
        waits = job.scheduled_at - job.deferred_at
        assert timedelta(minutes=5) < waits < timedelta(minutes=6)
    assert jobs.fetch(7) == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (JobStatus.TODO, "job {} is todo: only .* retried; to move one that waits, reschedule it"),
        (JobStatus.DOING, "job {} is doing: .*; to stop one that runs, cancel it with abort=True"),
        (JobStatus.SUCCEEDED, "job {} is succeeded: .*; to run it again, defer another one"),
    ],
)
async def test_a_job_that_cannot_be_retried_says_where_it_stands(
    app: App, jobs: JobManager, do: Do, status: JobStatus, message: str
) -> None:
    id_ = put(jobs, app, status, queueing_lock="q")
    with pytest.raises(InvalidTransition, match=message.format(id_)) as refused:
        await do("retry_job_by_id", id_)
    assert (refused.value.job_id, refused.value.status) == (id_, status)


async def test_a_job_whose_queueing_lock_is_taken_is_not_retried(
    app: App, jobs: JobManager, do: Do
) -> None:
    id_ = put(jobs, app, JobStatus.FAILED, queueing_lock="q")
    [waiting] = defer(app, queueing_lock="q")
    message = (
        f"job {waiting} with the queueing lock 'q' waits already, and job {id_} was not retried"
    )
    with pytest.raises(AlreadyEnqueued, match=message) as refused:
        await do("retry_job_by_id", id_)
    assert (refused.value.queueing_lock, refused.value.job_id) == ("q", waiting)
    assert jobs.get_job_status(id_) is JobStatus.FAILED


async def test_who_takes_the_queueing_lock_in_the_same_moment_is_named(
    app: App,
    jobs: JobManager,
    do: Do,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database tells only that it is taken; asked again it knows by whom."""
    id_ = put(jobs, app, JobStatus.FAILED, queueing_lock="q")
    retry = queries.job_change.retry_job
    waiting: list[int] = []

    def late(*args: Any, **kwargs: Any) -> None:
        if not waiting:
            waiting.extend(defer(app, queueing_lock="q"))
            raise AlreadyEnqueued("q", None)
        retry(*args, **kwargs)

    monkeypatch.setattr(queries.job_change, "retry_job", late)
    with pytest.raises(AlreadyEnqueued) as refused:
        await do("retry_job_by_id", id_)
    assert [refused.value.job_id] == waiting


async def test_a_job_that_waits_is_rescheduled(app: App, jobs: JobManager, do: Do) -> None:
    [id_] = defer(app, schedule_at=TOMORROW)
    await do("reschedule_job", id_, priority=3, queue="fast")
    job = jobs.get_job(id_)
    assert (job.scheduled_at, job.priority, job.queue) == (TOMORROW, 3, "fast")
    await do("reschedule_job", id_, schedule_in={"seconds": 0})
    assert [job.id for job in jobs.fetch(7, ["fast"])] == [id_]
    [id_] = defer(app)
    await do("reschedule_job", id_, schedule_at=TOMORROW)
    assert jobs.get_job(id_).scheduled_at == TOMORROW
    assert jobs.fetch(7) == []


@pytest.mark.parametrize("status", sorted(set(JobStatus) - {JobStatus.TODO}))
async def test_a_job_that_does_not_wait_is_not_rescheduled(
    app: App, jobs: JobManager, do: Do, status: JobStatus
) -> None:
    id_ = put(jobs, app, status)
    with pytest.raises(InvalidTransition, match=f"job {id_} is {status}: only a job that waits"):
        await do("reschedule_job", id_, priority=3)


@pytest.mark.parametrize(
    "call",
    [
        ("retry_job_by_id", {}),
        ("reschedule_job", {"priority": 1}),
        ("cancel_job_by_id", {}),
        ("get_job_status", {}),
    ],
)
@pytest.mark.parametrize("job_id", [404, 2**63])
async def test_a_job_that_is_not_there_is_not_found(
    do: Do, call: tuple[str, dict[str, Any]], job_id: int
) -> None:
    name, options = call
    with pytest.raises(JobNotFound, match=r"no job (has|can have)"):
        await do(name, job_id, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("retry_job_by_id", {"priority": 2**31}, "priority=2147483648"),
        ("retry_job_by_id", {"queue": ""}, "queue='': .*at least 1 character"),
        ("retry_job_by_id", {"lock": "x" * 501}, "lock='xx"),
        ("retry_job_by_id", {"retry_at": datetime(2030, 1, 1)}, "retry_at=.*no time zone"),  # noqa: DTZ001
        ("retry_job_by_id", {"retry_at": TOMORROW, "retry_in": {"days": 1}}, "give one of"),
        ("retry_job_by_id", {"retry_in": 5}, "retry_in=5, which is no wait"),
        ("reschedule_job", {}, "nothing about it is to be changed: give schedule_at"),
        ("reschedule_job", {"schedule_at": TOMORROW, "schedule_in": {"days": 1}}, "give one of"),
        ("reschedule_job", {"schedule_in": {"dayz": 1}}, "schedule_in={'dayz': 1}, .*no wait"),
        ("reschedule_job", {"schedule_at": "soon"}, "schedule_at='soon', which is no datetime"),
        ("reschedule_job", {"queue": "a\0"}, "NUL"),
    ],
)
async def test_what_no_job_can_have_is_refused_before_the_database_is_asked(
    do: Do, connection: psycopg.Connection, name: str, options: dict[str, Any], message: str
) -> None:
    connection.execute("DROP TABLE taskq_jobs CASCADE")
    with pytest.raises(InvalidJob, match=message):
        await do(name, 1, **options)


# Many jobs


@pytest.fixture
def one_of_each(app: App, jobs: JobManager) -> dict[JobStatus, int]:
    """A job of each status, in a queue of that name."""
    return {
        status: put(jobs, app, status, queue=status.value)
        for status in (
            JobStatus.SUCCEEDED,
            JobStatus.FAILED,
            JobStatus.CANCELLED,
            JobStatus.ABORTED,
            JobStatus.DOING,
            JobStatus.TODO,
        )
    }


def statuses(jobs: JobManager, of: dict[JobStatus, int]) -> dict[JobStatus, JobStatus]:
    """What has become of the jobs of each status; those that are gone are left out."""
    now = {job.id: job.status for job in jobs.list_jobs(ids=of.values())}
    return {before: now[id_] for before, id_ in of.items() if id_ in now}


async def test_jobs_that_ended_badly_are_retried_and_no_others(
    jobs: JobManager, do: Do, one_of_each: dict[JobStatus, int]
) -> None:
    assert await do("retry_jobs", ids=one_of_each.values()) == 3
    unchanged = {JobStatus.SUCCEEDED, JobStatus.DOING}
    assert statuses(jobs, one_of_each) == {
        status: status if status in unchanged else JobStatus.TODO for status in JobStatus
    }


async def test_jobs_that_wait_are_cancelled_and_those_that_run_aborted_if_so_wished(
    jobs: JobManager, do: Do, one_of_each: dict[JobStatus, int]
) -> None:
    assert await do("cancel_jobs", ids=one_of_each.values()) == 1
    assert statuses(jobs, one_of_each)[JobStatus.TODO] is JobStatus.CANCELLED
    running = one_of_each[JobStatus.DOING]
    assert not jobs.get_job(running).abort_requested
    assert await do("cancel_jobs", abort=True, task="noop") == 1
    assert jobs.get_job(running).abort_requested


async def test_jobs_that_do_not_run_are_deleted(
    jobs: JobManager, do: Do, one_of_each: dict[JobStatus, int]
) -> None:
    assert await do("delete_jobs", status=["failed", "todo"]) == 2
    assert statuses(jobs, one_of_each).keys() == set(JobStatus) - {JobStatus.FAILED, JobStatus.TODO}
    assert await do("delete_jobs", task="noop") == 3
    assert statuses(jobs, one_of_each).keys() == {JobStatus.DOING}


async def test_many_jobs_are_changed_page_by_page(
    app: App, jobs: JobManager, do: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries.job_change, "_CHUNK", 7)
    mail, other = defer(app, 30, queue="mail"), defer(app, 30)
    assert await do("cancel_jobs", queue="mail") == 30
    assert await do("retry_jobs", queue="mail", retry_at=TOMORROW, ids=mail[:20]) == 20
    assert {job.scheduled_at for job in jobs.list_jobs(ids=mail[:20])} == {TOMORROW}
    assert await do("delete_jobs", queue="mail") == 30
    assert [job.id for job in jobs.list_jobs()] == other


async def test_of_jobs_with_one_queueing_lock_one_is_retried(
    app: App, jobs: JobManager, do: Do
) -> None:
    ids = [put(jobs, app, JobStatus.FAILED, queueing_lock="q") for _ in range(3)]
    ids.append(put(jobs, app, JobStatus.FAILED))
    assert await do("retry_jobs", status="failed") == 2
    assert [job.status for job in jobs.list_jobs(ids=ids)] == ["todo", "failed", "failed", "todo"]


@pytest.mark.parametrize(
    ("name", "filters", "message"),
    [
        ("cancel_jobs", {}, "cancel_jobs without a filter would take every job"),
        ("retry_jobs", {}, "retry_jobs without a filter"),
        ("delete_jobs", {"queue": None}, "delete_jobs without a filter"),
        ("cancel_jobs", {"status": "doing"}, "cancel_jobs is for jobs that are todo, .*are doing"),
        ("retry_jobs", {"status": ["failed", "todo"]}, "failed, cancelled or aborted, .*todo"),
        ("delete_jobs", {"status": "doing"}, "delete_jobs is for jobs that are todo, succeeded"),
        ("delete_jobs", {"queues": ["mail"]}, "cannot be filtered by 'queues'"),
    ],
)
async def test_a_filter_that_fits_no_such_job_or_every_job_is_refused(
    app: App, jobs: JobManager, do: Do, name: str, filters: dict[str, Any], message: str
) -> None:
    [id_] = defer(app)
    with pytest.raises(InvalidFilter, match=message):
        await do(name, **filters)
    assert jobs.get_job_status(id_) is JobStatus.TODO


async def test_a_connection_of_the_callers_carries_a_change_of_many_jobs(
    app: App, jobs: JobManager, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries.job_change, "_CHUNK", 2)
    ids = defer(app, 5)
    with psycopg.connect(database_url.replace("+psycopg", "")) as own:
        assert jobs.on(own).cancel_jobs(task="noop") == 5
        assert jobs.on(own).delete_old_jobs({"days": 0}, include_cancelled=True) == 0
        own.rollback()
    async with await psycopg.AsyncConnection.connect(
        database_url.replace("+psycopg", "")
    ) as own_async:
        assert await jobs.on(own_async).delete_jobs_async(ids=ids[:4]) == 4
        assert len(jobs.list_jobs()) == 5
    assert [job.id for job in jobs.list_jobs()] == ids[4:]


@pytest.fixture
def aged(connection: psycopg.Connection, one_of_each: dict[JobStatus, int]) -> dict[JobStatus, int]:
    """A job of each status that was deferred, and is over, for two days."""
    connection.execute(
        "UPDATE taskq_jobs SET deferred_at = deferred_at - interval '2 days', "
        "finished_at = finished_at - interval '2 days'"
    )
    return one_of_each


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        ({}, {"succeeded"}),
        ({"include_failed": True}, {"succeeded", "failed"}),
        (
            {"include_cancelled": True, "include_aborted": True},
            {"succeeded", "cancelled", "aborted"},
        ),
        ({"include_failed": True, "queue": "failed"}, {"failed"}),
    ],
)
async def test_old_jobs_are_deleted_by_status(
    jobs: JobManager,
    do: Do,
    aged: dict[JobStatus, int],
    options: dict[str, Any],
    gone: set[JobStatus],
) -> None:
    assert await do("delete_old_jobs", timedelta(days=3), **options) == 0
    assert await do("delete_old_jobs", {"days": 1}, **options) == len(gone)
    assert statuses(jobs, aged).keys() == set(JobStatus) - gone


async def test_old_jobs_are_deleted_a_few_at_a_time(
    app: App,
    jobs: JobManager,
    do: Do,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries.retention, "_CHUNK", 3)
    ids = defer(app, 40)
    connection.execute(
        "UPDATE taskq_jobs SET status = CASE WHEN id % 9 < 3 THEN 'failed' ELSE 'succeeded' END"
        "::taskq_job_status, finished_at = now()"
    )
    failed = [job.id for job in jobs.list_jobs(status="failed")]
    assert await do("delete_old_jobs", timedelta(0)) == len(ids) - len(failed)
    assert [job.id for job in jobs.list_jobs()] == failed
    assert await do("delete_old_jobs", timedelta(0), include_failed=True) == len(failed)


@pytest.mark.parametrize("age", [timedelta(-1), {"dayz": 1}, timedelta(days=10**6), None])
async def test_an_age_that_makes_no_sense_is_refused(do: Do, age: Any) -> None:
    with pytest.raises(InvalidFilter, match="older_than="):
        await do("delete_old_jobs", age)
