"""What a task is told of the job that it runs as."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext, JobStatus, Snooze
from tests.worker.conftest import Disturbed, Drain, cut_off


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_context_tells_of_app_job_task_and_worker(
    app: App, drain: Drain, is_async: bool
) -> None:
    seen: list[JobContext] = []

    def look(context: JobContext, url: str) -> None:
        seen.append(context)
        assert not context.should_abort()
        assert context.abort_reason() is None

    async def look_async(context: JobContext, url: str) -> None:
        look(context, url)

    task = app.task(name="look", pass_context=True)(look_async if is_async else look)
    began = time.time()
    deferrer = task.configure(
        queue="mail", priority=2, lock="l", metadata={"trace": "t"}, tags=["a", "b"]
    )
    job_id = await deferrer.defer_async(url="/")
    given = {"language": "en"}
    await drain(app, name="ada", queues=["mail", "other"], additional_context=given)
    [context] = seen
    assert (context.app, context.task) == (app, task)
    assert (context.worker_name, context.worker_queues) == ("ada", ["mail", "other"])
    assert began <= context.start_timestamp <= time.time()
    assert context.additional_context == given
    assert context.failed_attempts == ()
    job = context.job
    assert (job.id, job.task_name, job.task_kwargs) == (job_id, "look", {"url": "/"})
    assert (job.queue, job.priority, job.lock, job.attempt) == ("mail", 2, "l", 1)
    assert (job.metadata, job.tags) == ({"trace": "t"}, ("a", "b"))
    assert job.status is JobStatus.DOING


async def test_metadata_and_tags_stay_whatever_becomes_of_the_job(app: App, drain: Drain) -> None:
    seen: list[tuple[Any, Any]] = []

    @app.task(pass_context=True, retry=1, metadata={"n": 1}, tags=["a"])
    async def fail(context: JobContext) -> None:
        seen.append((context.job.metadata, context.job.tags))
        raise ValueError

    jobs = app.job_manager
    job_id = await fail.defer_async()
    await jobs.reschedule_job_async(job_id, priority=3)
    await drain(app)
    await jobs.retry_job_by_id_async(job_id)
    await drain(app)
    ended = await jobs.get_job_async(job_id)
    assert seen == [({"n": 1}, ("a",))] * 3
    assert (ended.status, ended.metadata, ended.tags) == (JobStatus.FAILED, {"n": 1}, ("a",))


async def test_a_job_knows_its_attempt_and_the_errors_of_those_before(
    app: App, drain: Drain
) -> None:
    seen: list[tuple[int, list[tuple[str, str]]]] = []

    @app.task(pass_context=True, retry=2)
    def fail(context: JobContext) -> None:
        errors = [(a.error_type, a.error_message) for a in context.failed_attempts]
        seen.append((context.job.attempt, errors))
        if len(seen) == 2:
            raise Snooze(timedelta(0))
        raise ValueError(f"attempt {context.job.attempt}")

    began = datetime.now(UTC) - timedelta(seconds=1)
    job_id = await fail.defer_async()
    await drain(app)
    first, second = ("ValueError", "attempt 1"), ("ValueError", "attempt 2")
    assert seen == [(1, []), (2, [first]), (2, [first]), (3, [first, second])]
    [*attempts] = await app.job_manager.list_failed_attempts_async(job_id)
    assert all(attempt.failed_at > began for attempt in attempts)
    assert all("raise ValueError" in attempt.error_traceback for attempt in attempts)


async def test_a_task_without_a_context_costs_no_look_at_earlier_errors(
    app: App, drain: Drain, disturbed: Disturbed
) -> None:
    ran: list[int] = []

    @app.task(retry=1)
    async def fail() -> None:
        ran.append(1)
        raise ValueError

    @app.task(pass_context=True)
    async def succeed(context: JobContext) -> None:
        ran.append(2)

    disturbed.count("list_failed_attempts")
    await fail.defer_async()
    await succeed.defer_async()
    await drain(app)
    assert sorted(ran) == [1, 1, 2]
    assert disturbed.calls["list_failed_attempts"] == 0


async def test_a_bad_moment_of_the_database_while_earlier_errors_are_read_is_waited_out(
    app: App, drain: Drain, disturbed: Disturbed, connection: psycopg.Connection
) -> None:
    seen: list[Any] = []

    @app.task(pass_context=True, retry=1)
    async def fail(context: JobContext) -> None:
        seen.append([attempt.error_message for attempt in context.failed_attempts])
        if len(seen) == 1:
            raise ValueError("first")

    disturbed.before("list_failed_attempts", cut_off, times=2)
    job_id = await fail.defer_async()
    await drain(app)
    assert seen == [[], ["first"]]
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED
