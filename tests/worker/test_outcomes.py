"""How an attempt ends, whatever the task does."""

import asyncio
import contextvars
import json
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobAborted, JobContext, JobStatus, JobTimeout, Retry, RetryStrategy, Snooze
from taskq.context import AbortReason
from taskq.manager import operations
from tests.worker.conftest import Finished, Start, until

Drain = Callable[..., Coroutine[Any, Any, None]]

UNPRINTABLE = "a NUL \0 and half a \ud800 pair"


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no")


async def errors_of(app: App, job_id: int) -> list[tuple[str, str]]:
    attempts = await app.job_manager.list_failed_attempts_async(job_id)
    return [(attempt.error_type, attempt.error_message) for attempt in attempts]


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (ValueError("wrong"), ("ValueError", "wrong")),
        (ValueError(UNPRINTABLE), ("ValueError", r"a NUL \x00 and half a \ud800 pair")),
        (SystemExit(3), ("SystemExit", "3")),
        (
            Mute(),
            ("tests.worker.test_outcomes.Mute", "<its message cannot be shown: ValueError>"),
        ),
        (asyncio.CancelledError(), ("asyncio.exceptions.CancelledError", "")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_whatever_a_task_raises_fails_its_job_alone(
    app: App,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
    raised: BaseException,
    error: tuple[str, str],
    is_async: bool,
) -> None:
    # xdist cannot carry what pytest captures of a traceback with half a pair in it.
    caplog.set_level(logging.CRITICAL, "taskq")

    def fail() -> None:
        raise raised

    async def fail_async() -> None:
        raise raised

    task = app.task(name="fail")(fail_async if is_async else fail)

    @app.task(name="fine")
    async def fine() -> None: ...

    failed, succeeded = await task.defer_async(), await fine.defer_async()
    await drain(app)
    job = await app.job_manager.get_job_async(failed)
    assert (job.status, await errors_of(app, failed)) == (JobStatus.FAILED, [error])
    [attempt] = await app.job_manager.list_failed_attempts_async(failed)
    assert "Traceback" in attempt.error_traceback or isinstance(raised, Mute)
    assert await app.job_manager.get_job_status_async(succeeded) is JobStatus.SUCCEEDED


async def test_a_sync_task_may_raise_stop_iteration(app: App, drain: Drain) -> None:
    @app.task
    def exhausted() -> None:
        next(iter(()))

    job_id = await exhausted.defer_async()
    await drain(app)
    assert await errors_of(app, job_id) == [("RuntimeError", "the task raised StopIteration")]


async def test_an_unknown_task_and_arguments_that_do_not_fit_fail_their_jobs_alone(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    ran: list[int] = []

    @app.task(name="count", retry=True)
    async def count(number: int) -> None:
        ran.append(number)

    deferred = [
        {"task_name": "cuont", "args": {}},
        {"task_name": "count", "args": {"number": "many"}},
        {"task_name": "count", "args": {"number": 1}},
    ]
    rows = connection.execute("SELECT taskq_defer_jobs(%s)", [json.dumps(deferred)]).fetchall()
    unknown, unfit, fine = (row[0] for row in rows)
    await drain(app)
    [(kind, message)] = await errors_of(app, unknown)
    assert (kind, "did you mean 'count'?" in message) == ("taskq.exceptions.TaskNotFound", True)
    [(kind, message)] = await errors_of(app, unfit)
    assert (kind, "argument 'number' got 'many'" in message) == (
        "taskq.exceptions.InvalidArguments",
        True,
    )
    assert ran == [1]
    assert await app.job_manager.get_job_status_async(fine) is JobStatus.SUCCEEDED


async def test_a_result_that_does_not_fit_fails_the_job_for_good(app: App, drain: Drain) -> None:
    @app.task(store_result=True, retry=True)
    async def lie() -> int:
        return "three"  # type: ignore[return-value]

    job_id = await lie.defer_async()
    await drain(app)
    [(kind, message)] = await errors_of(app, job_id)
    assert (kind, "'three'" in message) == ("taskq.exceptions.InvalidResult", True)


async def test_a_strategy_counts_attempts_and_not_snoozes(app: App, drain: Drain) -> None:
    seen: list[tuple[int, int]] = []

    @app.task(retry=1, pass_context=True)
    async def hesitate(context: JobContext) -> None:
        seen.append((context.job.attempt, context.job.attempts))
        if len(seen) <= 2:
            raise Snooze(timedelta(0))
        raise ConnectionError("no")

    job_id = await hesitate.defer_async()
    await drain(app)
    assert seen == [(1, 0), (1, 0), (1, 0), (2, 1)]
    assert len(await errors_of(app, job_id)) == 2


async def test_a_task_is_run_again_when_it_asks_for_it(app: App, drain: Drain) -> None:
    attempts: list[int] = []

    @app.task(pass_context=True)
    async def persist(context: JobContext) -> None:
        attempts.append(context.job.attempt)
        if len(attempts) < 3:
            raise Retry(message="once more")

    job_id = await persist.defer_async()
    await drain(app)
    assert attempts == [1, 2, 3]
    assert await errors_of(app, job_id) == [("taskq.exceptions.Retry", "once more")] * 2
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED


async def test_a_strategy_that_fails_is_the_error(app: App, drain: Drain) -> None:
    class Broken(RetryStrategy):
        def get_retry_decision(self, **_: Any) -> None:
            raise ZeroDivisionError("in the strategy")

    @app.task(retry=Broken())
    async def fail() -> None:
        raise ValueError("in the task")

    job_id = await fail.defer_async()
    await drain(app)
    assert await errors_of(app, job_id) == [("ZeroDivisionError", "in the strategy")]
    [attempt] = await app.job_manager.list_failed_attempts_async(job_id)
    assert "in the task" in attempt.error_traceback


# Aborting


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


# What is kept, what leaks


@pytest.mark.parametrize(
    ("delete_jobs", "left"),
    [("never", {"fine", "wrong"}), ("successful", {"wrong"}), ("always", set())],
)
async def test_jobs_that_ended_are_kept_or_deleted(
    app: App, drain: Drain, delete_jobs: str, left: set[str]
) -> None:
    @app.task(name="fine", lock="a")
    async def fine() -> None: ...

    @app.task(name="wrong", lock="a", retry=1)
    async def wrong() -> None:
        raise ValueError

    await fine.batch_defer_async({}, {})
    await wrong.defer_async()
    await drain(app, delete_jobs=delete_jobs)
    assert {task for _, task, _ in await app.job_manager.count_jobs_async()} == left


async def test_sync_tasks_run_side_by_side_each_with_its_own_event_loop(
    app: App, drain: Drain
) -> None:
    barrier = threading.Barrier(3, timeout=15)

    @app.task
    def meet() -> None:
        async def wait() -> None:
            await asyncio.sleep(0)

        asyncio.run(wait())
        barrier.wait()

    await meet.batch_defer_async({}, {}, {})
    await drain(app, concurrency=3)
    assert {status for _, _, status in await app.job_manager.count_jobs_async()} == {
        JobStatus.SUCCEEDED
    }


async def test_context_variables_do_not_leak_between_jobs(app: App, drain: Drain) -> None:
    variable = contextvars.ContextVar("variable", default="clean")
    seen: list[str] = []

    @app.task
    async def soil() -> None:
        seen.append(variable.get())
        variable.set("soiled")

    @app.task
    def soil_in_a_thread() -> None:
        seen.append(variable.get())
        variable.set("soiled")

    for _ in range(2):
        await soil.defer_async()
        await soil_in_a_thread.defer_async()
    await drain(app)
    assert seen == ["clean"] * 4


async def test_a_job_that_succeeds_is_one_log_record(
    app: App, drain: Drain, actions: Callable[[], list[tuple[str, str]]]
) -> None:
    @app.task
    async def noop() -> None: ...

    await noop.batch_defer_async({}, {}, {})
    await drain(app)
    logged = actions()
    assert logged.count(("INFO", "job_succeeded")) == 3
    assert len(logged) == 3 + 3, "and the worker's start, stop and end"


async def test_an_attempt_whose_job_was_given_to_another_worker_changes_nothing(
    app: App, drain: Drain
) -> None:
    @app.task(pass_context=True)
    async def lose(context: JobContext) -> None:
        async with app.database.async_engine.connect() as connection:
            # As if this worker had been dead for long, and another one had seen it.
            await connection.run_sync(operations.rescue_jobs, 0.0, 1)

    job_id = await lose.defer_async()
    await drain(app, update_heartbeat_interval=60, stalled_worker_timeout=61)
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.crashes) == (JobStatus.FAILED, 1)


async def test_a_bug_in_taskq_fails_the_job_and_frees_the_sub_worker(
    app: App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    @app.task(name="broken")
    async def broken() -> None: ...

    @app.task(name="fine")
    async def fine() -> None: ...

    def load(stored: object) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(broken.arguments, "load", load)
    failed, succeeded = await broken.defer_async(), await fine.defer_async()
    await drain(app, concurrency=1)
    assert await errors_of(app, failed) == [("AttributeError", "a bug")]
    assert await app.job_manager.get_job_status_async(succeeded) is JobStatus.SUCCEEDED
