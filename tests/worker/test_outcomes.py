"""How an attempt ends, whatever the task does."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import psycopg
import pytest
from pydantic import AfterValidator, PlainSerializer

from taskq import (
    App,
    BaseRetryStrategy,
    Blueprint,
    Job,
    JobContext,
    JobStatus,
    Retry,
    RetryDecision,
    RetryStrategy,
    Snooze,
    queries,
)
from taskq.job import NewJob
from tests.worker.conftest import Drain, errors_of

UNPRINTABLE = "a NUL \0 and half a \ud800 pair"


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no")


class Rude(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class Base(BaseException):
    pass


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
        (
            Rude(),
            ("tests.worker.test_outcomes.Rude", "<its message cannot be shown: KeyboardInterrupt>"),
        ),
        (KeyboardInterrupt("stop"), ("KeyboardInterrupt", "stop")),
        (GeneratorExit("close"), ("GeneratorExit", "close")),
        (Base("any"), ("tests.worker.test_outcomes.Base", "any")),
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


def interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


async def interrupt_async(*_: Any) -> Any:
    raise KeyboardInterrupt


class Interrupting(BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("where", ["validator", "serializer", "strategy", "middleware", "worker's"])
async def test_what_stands_around_a_task_ends_neither_the_worker_nor_another_job(
    app: App, drain: Drain, where: str, is_async: bool
) -> None:
    checked = Annotated[int, AfterValidator(lambda _: interrupt())]
    written = Annotated[int, PlainSerializer(lambda _: interrupt())]

    def work(number: int = 0) -> int:
        if where == "strategy":
            raise ValueError("no")
        return 1

    async def work_async(number: int = 0) -> int:
        return work()

    function = work_async if is_async else work
    function.__annotations__ = {
        "number": checked if where == "validator" else int,
        "return": written if where == "serializer" else int,
    }
    inner = interrupt_async if is_async else interrupt
    task = app.task(
        name="work",
        store_result=True,
        retry=Interrupting() if where == "strategy" else False,
        task_middleware=inner if where == "middleware" else None,
    )(function)

    @app.task(name="fine")
    async def fine() -> None: ...

    [failed] = await app.job_manager.defer_jobs_async(
        [NewJob(task_name="work", args={"number": 1})]
    )
    assert failed is not None
    succeeded = None if where == "worker's" else await fine.defer_async()
    outer = {"worker_middleware": interrupt_async} if where == "worker's" else {}
    await drain(app, **outer)
    assert task.name == "work"
    [(kind, _)] = await errors_of(app, failed)
    # pydantic makes an error of its own of what a serializer raises.
    assert kind == (
        "taskq.exceptions.InvalidResult" if where == "serializer" else "KeyboardInterrupt"
    )
    if succeeded is not None:
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
    assert (kind, "did you mean 'count'?" in message) == ("taskq.exceptions.JobGivenBack", True)
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


async def test_a_strategy_of_ones_own_decides_when_where_and_how_it_is_run_again(
    app: App, drain: Drain
) -> None:
    asked: list[tuple[str, int]] = []

    class Demote(BaseRetryStrategy):
        def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
            asked.append((str(exception), job.attempts))
            if job.queue == "slow":
                return None
            return RetryDecision(retry_in={"hours": 1}, priority=-5, queue="slow", lock="one")

    @app.task(retry=Demote())
    async def fail() -> None:
        raise ValueError("no")

    job_id = await fail.defer_async()
    began = datetime.now(UTC)
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.priority, job.queue, job.lock) == (JobStatus.TODO, -5, "slow", "one")
    assert job.scheduled_at is not None
    assert timedelta(minutes=59) < job.scheduled_at - began < timedelta(minutes=61)
    assert asked == [("no", 0)]
    in_the_slow_queue = await fail.configure(queue="slow").defer_async()
    await drain(app)
    assert asked == [("no", 0), ("no", 0)]
    status = await app.job_manager.get_job_status_async(in_the_slow_queue)
    assert status is JobStatus.FAILED


async def test_a_job_is_run_by_whatever_name_of_its_task_it_has(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    """Such as those that still wait with the name from before the task moved to a blueprint."""
    seen: list[int] = []
    billing = Blueprint()

    @billing.task(name="charge", aliases=["bill"])
    async def charge(order: int) -> None:
        seen.append(order)

    app.add_tasks_from(billing, namespace="billing")
    app.add_task_alias(charge, "shop.charge")
    names = ["billing:charge", "billing:bill", "shop.charge", "charge"]
    deferred = [{"task_name": name, "args": {"order": i}} for i, name in enumerate(names)]
    connection.execute("SELECT taskq_defer_jobs(%s)", [json.dumps(deferred)])
    await charge.defer_async(order=4)
    await drain(app, unknown_job_timeout=0)
    assert seen == [0, 1, 2, 4]
    counted = await app.job_manager.count_jobs_async()
    assert {task for _, task, status in counted if status is JobStatus.FAILED} == {"charge"}


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
            await connection.run_sync(queries.job_rescue.rescue_jobs, 0.0, 1)

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

    def load(stored: object, *, conceals: bool) -> None:
        raise AttributeError("a bug")

    monkeypatch.setattr(broken.arguments, "load", load)
    failed, succeeded = await broken.defer_async(), await fine.defer_async()
    await drain(app, concurrency=1)
    assert await errors_of(app, failed) == [("AttributeError", "a bug")]
    assert await app.job_manager.get_job_status_async(succeeded) is JobStatus.SUCCEEDED


async def test_tasks_find_what_the_worker_was_given_for_them(app: App, drain: Drain) -> None:
    @app.task(pass_context=True, store_result=True)
    async def greet(context: JobContext) -> str:
        return str(context.additional_context["greeting"])

    job_id = await greet.defer_async()
    await drain(app, additional_context={"greeting": "hello"})
    assert greet.result(await app.job_manager.get_job_async(job_id)) == "hello"
