"""Jobs that are asked to abort, and jobs that take too long."""

import asyncio
import threading
import time
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from taskq import App, JobAborted, JobContext, JobTimeout, RetryStrategy
from taskq.context import AbortReason
from taskq.exceptions import Retry
from taskq.job import JobStatus
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    Start,
    delayed,
    errors_of,
    statuses,
    until,
)


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

    await start(
        app,
        listen_notify=False,
        fetch_job_polling_interval=0.2,
        abort_job_polling_interval=60,
    )
    job_id = await fail.defer_async()
    await begun.wait()
    assert await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    gate.set()
    job = await finished(job_id)
    assert (job.status, job.attempt) == (JobStatus.ABORTED, 1)
    assert connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
    ).fetchone() == (0,)


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


@pytest.mark.parametrize("retry", [False, True])
async def test_an_async_task_is_cancelled_when_its_abortion_is_asked_for(
    app: App, start: Start, finished: Finished, retry: bool
) -> None:
    begun = asyncio.Event()

    @app.task(retry=retry)
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(60)

    await start(app, abort_job_polling_interval=60)
    job_id = await sleep.defer_async()
    await begun.wait()
    assert not await app.job_manager.cancel_job_by_id_async(job_id)
    asked = time.monotonic()
    assert await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    job = await finished(job_id)
    assert job.status is JobStatus.ABORTED
    assert time.monotonic() - asked < 1, "by notification, long before the poll"


async def test_without_notifications_the_poll_finds_requests_to_abort(
    app: App, start: Start, finished: Finished
) -> None:
    begun = asyncio.Event()

    @app.task
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(60)

    await start(
        app, listen_notify=False, abort_job_polling_interval=0.1, fetch_job_polling_interval=0.1
    )
    job_id = await sleep.defer_async()
    await begun.wait()
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED


async def test_a_task_that_swallows_its_cancellation_succeeds(
    app: App, start: Start, finished: Finished
) -> None:
    begun = asyncio.Event()

    @app.task(store_result=True)
    async def stubborn() -> str:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return "not cancelled"

    await start(app)
    job_id = await stubborn.defer_async()
    await begun.wait()
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    job = await finished(job_id)
    assert (job.status, stubborn.result(job)) == (JobStatus.SUCCEEDED, "done all the same")


async def test_a_sync_task_asks_whether_to_abort(
    app: App, start: Start, finished: Finished
) -> None:
    begun = threading.Event()
    reasons: list[AbortReason | None] = []

    @app.task(pass_context=True, retry=True)
    def patient(context: JobContext) -> None:
        begun.set()
        while not context.should_abort():
            time.sleep(0.005)
        reasons.append(context.abort_reason())
        raise JobAborted("as asked")

    await start(app)
    job_id = await patient.defer_async()
    await until(begun.is_set)
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED
    assert reasons == [AbortReason.USER_REQUEST]
    assert await errors_of(app, job_id) == [("taskq.exceptions.JobAborted", "as asked")]


async def test_a_request_that_overtakes_the_answer_of_the_claim_is_heard(
    app: App, start: Start, finished: Finished, disturbed: Disturbed
) -> None:
    """The worker is told to abort a job before it knows that it has it."""
    claimed = asyncio.Event()

    @app.task
    async def sleep() -> None:
        await asyncio.sleep(60)

    def late(connection: Connection) -> None:
        claimed.set()
        delayed(0.3)(connection)

    disturbed.after("claim_jobs", late, only_if=bool)
    await start(app, abort_job_polling_interval=60)
    job_id = await sleep.defer_async()
    async with asyncio.timeout(15):
        await claimed.wait()
    assert await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED


# Timeouts


async def test_an_async_task_that_takes_too_long_fails_and_is_retried(
    app: App, drain: Drain
) -> None:
    attempts: list[int] = []

    @app.task(timeout=0.1, retry=RetryStrategy(max_attempts=1, retry_exceptions=[JobTimeout]))
    async def sleep() -> None:
        attempts.append(1)
        await asyncio.sleep(60)

    job_id = await sleep.defer_async()
    await drain(app)
    assert len(attempts) == 2
    assert [kind for kind, _ in await errors_of(app, job_id)] == ["taskq.exceptions.JobTimeout"] * 2
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.FAILED


async def test_a_task_that_takes_too_long_times_out_whatever_it_makes_of_its_cancellation(
    app: App, drain: Drain
) -> None:
    @app.task(timeout=0.1, retry=RetryStrategy(max_attempts=1, retry_exceptions=[JobTimeout]))
    async def sleep() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ConnectionError("closed on the way out") from None

    job_id = await sleep.defer_async()
    await drain(app)
    assert [kind for kind, _ in await errors_of(app, job_id)] == ["taskq.exceptions.JobTimeout"] * 2
    [attempt, _] = await app.job_manager.list_failed_attempts_async(job_id)
    assert "closed on the way out" in attempt.error_traceback


async def test_a_sync_task_learns_that_it_takes_too_long(app: App, drain: Drain) -> None:
    @app.task(timeout=0.1, pass_context=True)
    def work(context: JobContext) -> None:
        while not context.should_abort():
            time.sleep(0.005)
        raise JobAborted(str(context.abort_reason()))

    job_id = await work.defer_async()
    await drain(app)
    assert [kind for kind, _ in await errors_of(app, job_id)] == ["taskq.exceptions.JobTimeout"]


async def test_a_task_that_is_done_in_time_is_not_disturbed(app: App, drain: Drain) -> None:
    @app.task(timeout=30)
    async def quick() -> None: ...

    job_id = await quick.defer_async()
    await drain(app)
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED
