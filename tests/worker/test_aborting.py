"""A job that is to be aborted is not run again, whatever becomes of its attempt."""

import asyncio
import threading
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext
from taskq.exceptions import Retry
from taskq.job import JobStatus
from tests.worker.conftest import Finished, Start, statuses, until


@pytest.mark.parametrize("raised", [ValueError("in its clean-up"), Retry()])
async def test_a_task_that_raises_something_else_when_it_is_cancelled_is_aborted(
    app: App, start: Start, finished: Finished, raised: Exception
) -> None:
    begun = asyncio.Event()

    @app.task(retry=True)
    async def clumsy() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            raise raised

    await start(app)
    job_id = await clumsy.defer_async()
    await begun.wait()
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    job = await finished(job_id)
    assert (job.status, job.attempt) == (JobStatus.ABORTED, 1)
    [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
    assert attempt.error_message == str(raised)


async def test_a_request_that_the_worker_never_heard_of_bars_a_retry(
    app: App, start: Start, finished: Finished, connection: psycopg.Connection
) -> None:
    """The attempt fails by itself before the next look at requests."""
    begun, gate = asyncio.Event(), asyncio.Event()

    @app.task(retry=True, lock="a lock")
    async def fail() -> None:
        begun.set()
        await gate.wait()
        raise ValueError("by itself")

    await start(app, listen_notify=False, abort_job_polling_interval=60)
    job_id = await fail.defer_async()
    await begun.wait()
    assert await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    gate.set()
    job = await finished(job_id)
    assert (job.status, job.attempt) == (JobStatus.ABORTED, 1)
    assert connection.execute("SELECT count(*) FROM taskq_locks").fetchone() == (0,)


async def test_a_claimed_job_that_is_aborted_before_it_begins_does_not_begin(
    app: App, start: Start, finished: Finished
) -> None:
    release = threading.Event()
    begun: list[int] = []

    @app.task
    def block(number: int) -> None:
        begun.append(number)
        release.wait(15)

    first, second = await block.batch_defer_async({"number": 1}, {"number": 2})
    try:
        await start(app, prefetch=1)
        await until(lambda: begun, "the first job")
        await until_doing(app, 2)
        assert await app.job_manager.cancel_job_by_id_async(second, abort=True)
        # Told by a notification; nothing to see from outside until its turn comes.
        await asyncio.sleep(0.3)
    finally:
        release.set()
    assert (await finished(first)).status is JobStatus.SUCCEEDED
    assert (await finished(second)).status is JobStatus.ABORTED
    assert begun == [1]


async def test_a_job_that_runs_can_be_aborted_while_its_worker_stops(
    app: App, start: Start, finished: Finished
) -> None:
    begun = asyncio.Event()

    @app.task
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(60)

    worker = await start(app, abort_job_polling_interval=0.2)
    job_id = await sleep.defer_async()
    await begun.wait()
    worker.stop()
    await asyncio.sleep(0.05)
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED


async def test_a_deleted_job_that_still_runs_is_aborted_in_its_worker(
    app: App, start: Start, connection: psycopg.Connection, actions: Any
) -> None:
    seen: list[str] = []

    @app.task(pass_context=True)
    async def sleep(context: JobContext) -> None:
        seen.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append(str(context.abort_reason()))
            raise

    await start(app, abort_job_polling_interval=0.2)
    await sleep.defer_async()
    await until(lambda: seen, "the job")
    connection.execute("DELETE FROM taskq_jobs")
    await until(lambda: seen == ["begun", "lost"], "the cancellation")
    assert ("WARNING", "job_lost") in actions()


async def until_doing(app: App, jobs: int) -> None:
    for _ in range(1000):
        if (await statuses(app)).get(JobStatus.DOING) == jobs:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(await statuses(app))
