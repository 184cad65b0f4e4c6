"""The job manager: what is read and cancelled, and what is said when the database is not as it should be."""

import socket
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import inf, nan
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, queries
from taskq.database.errors import translated
from taskq.exceptions import (
    AlreadyEnqueued,
    DatabaseUnavailable,
    InvalidJob,
    InvalidOption,
    JobNotFound,
    SchemaNotApplied,
)
from taskq.job import Job, NewJob
from taskq.manager import JobManager
from taskq.outcome import Outcome

SECRET = "hunter2"  # noqa: S105


@pytest.fixture
def jobs(app: App) -> JobManager:
    return app.job_manager


def defer(app: App, count: int = 1, **options: Any) -> list[int]:
    ids: list[int] = app.configure_task("noop", **options).batch_defer(*[{}] * count)
    return ids


def claim(app: App) -> list[Job]:
    """Claim what there is, for worker 7."""
    with app.database.engine.connect() as connection:
        return queries.job_claim.claim_from_queues(connection, 7, None, 10)


def finish(app: App, *jobs: Job, status: JobStatus, **values: Any) -> None:
    """End attempts of worker 7."""
    outcomes = [Outcome(job_id=job.id, claim=job.claim, status=status, **values) for job in jobs]
    with app.database.engine.connect() as connection:
        queries.job_finish.finish_jobs(connection, 7, outcomes)


@pytest.mark.parametrize("max_jobs", [-1, 0, 1001, "2"])
def test_a_claim_of_no_number_of_jobs_is_refused(app: App, jobs: JobManager, max_jobs: Any) -> None:
    [id_] = defer(app)
    with pytest.raises(
        InvalidOption, match=rf"max_jobs={max_jobs!r} is none: it goes from 1 to 1,000"
    ):
        jobs.fetch(7, max_jobs=max_jobs)
    assert jobs.get_job_status(id_) is JobStatus.TODO


async def test_a_job_is_read_as_the_database_has_it(app: App, jobs: JobManager) -> None:
    scheduled_at = datetime(2020, 1, 1, tzinfo=UTC)
    [id_] = defer(app, lock="l", queueing_lock="q", queue="x", priority=4, schedule_at=scheduled_at)
    job = jobs.get_job(id_)
    assert job == await jobs.get_job_async(id_)
    assert (job.lock, job.queueing_lock, job.queue, job.priority) == ("l", "q", "x", 4)
    assert (job.scheduled_at, job.started_at, job.finished_at) == (scheduled_at, None, None)
    assert (job.status, job.attempt, job.claim, job.worker_id) == (JobStatus.TODO, 0, 0, None)
    assert jobs.get_job_status(id_) is await jobs.get_job_status_async(id_) is JobStatus.TODO
    [claimed] = claim(app)
    assert claimed == jobs.get_job(id_)
    assert (claimed.status, claimed.attempt, claimed.worker_id) == (JobStatus.DOING, 1, 7)
    finish(app, claimed, status=JobStatus.SUCCEEDED, result={"a": [None]}, held_lock="l")
    ended = jobs.get_job(id_)
    assert (ended.status, ended.result) == (JobStatus.SUCCEEDED, {"a": [None]})
    assert ended.finished_at is not None
    assert ended.deferred_at <= ended.finished_at


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_a_number_that_json_lacks_is_refused_and_no_null(
    app: App, jobs: JobManager, value: float
) -> None:
    """In what callers make by hand: a task's own arguments and results are refused before."""
    with pytest.raises(InvalidJob, match="JSON cannot carry"):
        jobs.defer_jobs([NewJob(task_name="count", args={"n": [{"a": value}]})])
    assert jobs.count_jobs() == {}
    [id_] = defer(app)
    [claimed] = claim(app)
    with pytest.raises(InvalidJob, match="JSON cannot carry"):
        jobs.finish(
            7,
            [Outcome(job_id=id_, claim=claimed.claim, status=JobStatus.SUCCEEDED, result=value)],
        )
    assert jobs.get_job_status(id_) is JobStatus.DOING


async def test_a_snooze_is_a_claim_and_no_attempt(app: App, jobs: JobManager) -> None:
    [id_] = defer(app)
    finish(app, *claim(app), status=JobStatus.TODO, keeps_attempt=True)
    [job] = claim(app)
    assert (job.claim, job.attempt, job.attempts) == (2, 1, 0)
    finish(app, job, status=JobStatus.FAILED)
    assert jobs.get_job(id_).attempts == 1


async def test_why_attempts_failed_is_read_with_the_first_one_first(
    app: App, jobs: JobManager
) -> None:
    [id_, other] = defer(app, 2)
    assert jobs.list_failed_attempts(id_) == []
    for number in range(2):
        [*claimed] = claim(app)
        finish(
            app,
            *claimed,
            status=JobStatus.FAILED if number else JobStatus.TODO,
            error_type="ValueError",
            error_message=f"number {number}",
            error_traceback="Traceback …",
        )
    attempts = jobs.list_failed_attempts(id_)
    assert attempts == await jobs.list_failed_attempts_async(id_)
    assert [(attempt.claim, attempt.attempt, attempt.error_message) for attempt in attempts] == [
        (1, 1, "number 0"),
        (2, 2, "number 1"),
    ]
    assert {(a.worker_id, a.error_type, a.error_traceback) for a in attempts} == {
        (7, "ValueError", "Traceback …")
    }
    assert jobs.list_failed_attempts(other)[0].failed_at.tzinfo is not None


async def test_jobs_are_counted_by_queue_task_and_status(app: App, jobs: JobManager) -> None:
    defer(app, 2, queue="b")
    finish(app, *claim(app), status=JobStatus.SUCCEEDED)
    defer(app, 3)
    counted = {("b", "noop", JobStatus.SUCCEEDED): 2, ("default", "noop", JobStatus.TODO): 3}
    assert jobs.count_jobs() == await jobs.count_jobs_async() == counted


async def test_a_job_that_waits_is_cancelled_or_deleted(app: App, jobs: JobManager) -> None:
    first, second, third = defer(app, 3)
    assert jobs.cancel_job_by_id(first) is True
    assert await jobs.cancel_job_by_id_async(second) is True
    assert jobs.cancel_job_by_id(third, delete_job=True) is True
    assert {job.id: job.status for job in jobs.list_jobs(ids=[first, second, third])} == {
        first: JobStatus.CANCELLED,
        second: JobStatus.CANCELLED,
    }
    assert jobs.cancel_job_by_id(first, abort=True) is False, "it has ended already"
    with pytest.raises(JobNotFound, match=f"no job has the id {third}"):
        jobs.cancel_job_by_id(third)


async def test_a_job_that_runs_is_asked_to_abort_if_so_wished(app: App, jobs: JobManager) -> None:
    [id_] = defer(app)
    claim(app)
    assert jobs.cancel_job_by_id(id_) is False
    assert jobs.cancel_job_by_id(id_, delete_job=True) is False
    assert jobs.get_job(id_).abort_requested is False
    assert await jobs.cancel_job_by_id_async(id_, abort=True) is True
    assert jobs.get_job(id_).abort_requested is True
    assert jobs.get_job_status(id_) is JobStatus.DOING


def single_operations(jobs: JobManager) -> list[Callable[[], object]]:
    return [
        lambda: jobs.get_job(1),
        lambda: jobs.get_job_status(1),
        lambda: jobs.cancel_job_by_id(1),
    ]


def single_operations_async(jobs: JobManager) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: jobs.get_job_async(1),
        lambda: jobs.get_job_status_async(1),
        lambda: jobs.cancel_job_by_id_async(1),
    ]


async def test_a_job_that_is_not_there_is_not_found(jobs: JobManager) -> None:
    for operation in single_operations(jobs):
        with pytest.raises(JobNotFound, match="no job has the id 1: it may have been deleted"):
            operation()
    for operation_async in single_operations_async(jobs):
        with pytest.raises(JobNotFound, match="no job has the id 1: it may have been deleted"):
            await operation_async()
    assert jobs.list_failed_attempts(1) == []


async def test_a_time_that_could_not_be_read_again_is_refused_from_whatever_caller(
    jobs: JobManager, connection: psycopg.Connection
) -> None:
    for time in ("-infinity", "infinity", "0001-12-31T23:59:59Z", "9999-01-01T00:00:00Z"):
        job = f'[{{"task_name": "noop", "scheduled_at": "{time}"}}]'
        with pytest.raises(InvalidJob, match="taskq_jobs_scheduled_at_years"), translated():
            connection.execute("SELECT taskq_defer_jobs(%s)", [job])
    assert jobs.count_jobs() == {}


async def test_a_database_without_the_schema_says_how_to_get_it(database_url: str) -> None:
    async with App(f"{database_url}&options=-csearch_path%3Dempty") as app:
        jobs = app.job_manager
        noop = app.configure_task("noop")
        expected = "has not the schema .*python -m taskq schema apply"
        for operation in [*single_operations(jobs), jobs.count_jobs, noop.defer]:
            with pytest.raises(SchemaNotApplied, match=expected):
                operation()
        for operation_async in [*single_operations_async(jobs), noop.defer_async]:
            with pytest.raises(SchemaNotApplied, match=expected):
                await operation_async()
        assert app.check_connection() is await app.check_connection_async() is False


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


async def test_a_server_that_does_not_answer_is_named_without_the_password(
    closed_port: int,
) -> None:
    async with App(f"postgresql://ada:{SECRET}@127.0.0.1:{closed_port}/shop") as app:
        noop = app.configure_task("noop")
        calls: list[Callable[[], Awaitable[object]]] = [
            *single_operations_async(app.job_manager),
            noop.defer_async,
            app.check_connection_async,
            app.schema_manager.apply_schema_async,
        ]
        refusals = []
        for call in calls:
            with pytest.raises(DatabaseUnavailable, match=f"{closed_port}.*refused") as refused:
                await call()
            refusals.append(refused.value)
        waited: list[Callable[[], object]] = [
            noop.defer,
            app.check_connection,
            app.schema_manager.apply_schema,
        ]
        for operation in waited:
            with pytest.raises(DatabaseUnavailable, match=f"{closed_port}.*refused") as refused:
                operation()
            refusals.append(refused.value)
    for refusal in refusals:
        assert SECRET not in "".join(traceback.format_exception(refusal))


def test_a_taken_queueing_lock_is_read_from_a_server_of_any_language(
    connection: psycopg.Connection,
) -> None:
    detail = "Schlüssel »(queueing_lock)=(it''s (b))« existiert bereits."
    with pytest.raises(AlreadyEnqueued) as refused, translated():
        connection.execute(
            f"""
            DO $$ BEGIN
                RAISE unique_violation USING
                    DETAIL = '{detail}', CONSTRAINT = 'taskq_jobs_queueing_lock';
            END $$
            """.encode()
        )
    assert (refused.value.queueing_lock, refused.value.job_id) == ("it's (b)", None)


def test_an_error_that_is_none_of_taskqs_stays_what_it_is(connection: psycopg.Connection) -> None:
    for statement, error in [
        ("SELECT 1 / 0", psycopg.errors.DivisionByZero),
        ("SELECT * FROM orders", psycopg.errors.UndefinedTable),
    ]:
        with pytest.raises(error), translated():
            connection.execute(statement.encode())
