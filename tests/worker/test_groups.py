"""What comes out of a task group means the same as if it came out alone."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from taskq import App, JobAborted, JobStatus, Retry, RetryStrategy, Snooze
from tests.worker.conftest import Drain, errors_of


def nested(*leaves: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("outer", [ExceptionGroup("inner", [leaf]) for leaf in leaves])


HOUR = timedelta(hours=1)
ONLY_CONNECTIONS = RetryStrategy(max_attempts=1, retry_exceptions={ConnectionError})


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize(
    ("group", "status", "attempt", "errors"),
    [
        (nested(Snooze(HOUR)), JobStatus.TODO, 0, []),
        (nested(Snooze(HOUR), Snooze(HOUR)), JobStatus.TODO, 0, []),
        (nested(Retry(HOUR, message="later")), JobStatus.TODO, 1, ["later"]),
        (nested(Snooze(HOUR), Retry(HOUR, message="later")), JobStatus.TODO, 1, ["later"]),
        (nested(Retry(), JobAborted("enough")), JobStatus.ABORTED, 1, ["enough"]),
        (
            BaseExceptionGroup("b", [asyncio.CancelledError(), Snooze(HOUR)]),
            JobStatus.TODO,
            0,
            [],
        ),
        # An error is never lost: the strategy decides, by all of the errors.
        (nested(ConnectionError("a")), JobStatus.FAILED, 2, ["outer (1 sub-exception)"] * 2),
        (
            nested(ConnectionError("a"), Snooze(HOUR)),
            JobStatus.FAILED,
            2,
            ["outer (2 sub-exceptions)"] * 2,
        ),
        (
            nested(ConnectionError("a"), ValueError("b")),
            JobStatus.FAILED,
            1,
            ["outer (2 sub-exceptions)"],
        ),
        (
            nested(ConnectionError("a"), JobAborted("b")),
            JobStatus.FAILED,
            1,
            ["outer (2 sub-exceptions)"],
        ),
        (BaseExceptionGroup("b", [asyncio.CancelledError()]), JobStatus.FAILED, 1, [""]),
    ],
)
async def test_a_group_stands_for_what_is_in_it(
    app: App,
    drain: Drain,
    group: BaseException,
    status: JobStatus,
    attempt: int,
    errors: list[str],
    is_async: bool,
) -> None:
    async def work_async() -> None:
        raise group

    def work() -> None:
        raise group

    task = app.task(name="work", retry=ONLY_CONNECTIONS)(work_async if is_async else work)
    job_id = await task.defer_async()
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.attempt) == (status, attempt)
    assert [message for _, message in await errors_of(app, job_id)] == errors


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (lambda: Snooze(HOUR), JobStatus.TODO),
        (lambda: Retry(HOUR), JobStatus.TODO),
        (lambda: JobAborted("enough"), JobStatus.ABORTED),
    ],
)
async def test_a_task_of_a_task_group_may_speak_for_the_job(
    app: App, drain: Drain, raised: Callable[[], Exception], status: JobStatus
) -> None:
    async def speak() -> None:
        raise raised()

    @app.task
    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            group.create_task(speak())

    job_id = await work.defer_async()
    await drain(app)
    assert await app.job_manager.get_job_status_async(job_id) is status
