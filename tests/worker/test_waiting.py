"""Waiting for jobs that workers run: what is returned or raised, and by a task that waits itself."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from taskq import (
    App,
    JobAborted,
    JobCancelled,
    JobContext,
    JobFailed,
    JobNotFound,
    JobStatus,
    RetryStrategy,
    WaitTimeout,
)
from taskq.exceptions import InvalidJob, InvalidOption, InvalidSignature, ResultNotAvailable
from taskq.task import Task
from taskq.task_deferrer import TaskDeferrer
from tests.conftest import Face
from tests.worker.conftest import Drain, Finished, MakeApp, Start, until


class WaitingFace(Face):
    """Waits by the sync methods in a thread, or by the async ones."""

    async def wait(self, task: Task[..., Any], job_id: int, **options: Any) -> Any:
        if self.is_async:
            return await task.wait_async(job_id, **options)
        wait: Any = task.wait
        return await asyncio.to_thread(wait, job_id, **options)

    async def defer_and_wait(
        self, by: Task[..., Any] | TaskDeferrer[..., Any, Any], **arguments: Any
    ) -> Any:
        deferrer = by.configure(wait_timeout=15) if isinstance(by, Task) else by
        if self.is_async:
            return await deferrer.defer_and_wait_async(**arguments)
        return await asyncio.to_thread(deferrer.defer_and_wait, **arguments)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def face(request: pytest.FixtureRequest) -> WaitingFace:
    return WaitingFace(request.param)


@pytest.fixture
def double(app: App) -> Task[..., Any]:
    @app.task(name="double", aliases=["twice"], store_result=True)
    async def double(number: int) -> int:
        if number < 0:
            raise ValueError(f"{number} is negative")
        return 2 * number

    return double


async def test_what_a_job_returns_is_waited_for(
    app: App, double: Task[..., Any], start: Start, face: WaitingFace
) -> None:
    await start(app, concurrency=5)
    assert await face.defer_and_wait(double, number=21) == 42
    job_id = await double.defer_async(number=4)
    assert await face.wait(double, job_id, timeout=timedelta(seconds=15)) == 8
    assert await face.wait(double, job_id) == 8  # after the end


async def test_an_end_is_seen_sooner_than_by_a_poll(
    app: App, start: Start, face: WaitingFace
) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.task(store_result=True)
    async def answer() -> float:
        began.set()
        await go_on.wait()
        return time.monotonic()

    await start(app, concurrency=5)
    await face.defer_and_wait(app.task(name="warm", store_result=True)(_nothing))
    job_id = await answer.defer_async()
    await began.wait()
    waiting = asyncio.create_task(face.wait(answer, job_id, timeout=15))
    await until(app.database.waiters.awaited_ids)
    await asyncio.sleep(0.1)  # beyond its first check
    go_on.set()
    # A few milliseconds, where nothing else runs; a poll is due after five seconds.
    assert time.monotonic() - await waiting < 2


async def _nothing() -> None: ...


async def test_a_thousand_that_wait_beside_a_worker_take_no_connection_more(
    app: App, start: Start, face: WaitingFace, connection: psycopg.Connection
) -> None:
    def sessions() -> set[int]:
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return {pid for (pid,) in connection.execute(query)}

    nothing = app.task(name="nothing", queue="unserved")(_nothing)
    await start(app, queues=["served"], concurrency=5)
    ids = await nothing.batch_defer_async(*[{}] * 1000)
    before = sessions()
    wait = app.job_manager.wait_for_job
    wait_async = app.job_manager.wait_for_job_async
    with ThreadPoolExecutor(1000) as threads:
        waiting = [
            asyncio.ensure_future(wait_async(job_id, timeout=30))
            if face.is_async
            else asyncio.wrap_future(threads.submit(wait, job_id, timeout=30))
            for job_id in ids
        ]
        await until(lambda: len(app.database.waiters.awaited_ids()) == 1000)
        marked = "SELECT count(*) FROM taskq_jobs WHERE awaited"
        await until(lambda: connection.execute(marked).fetchone() == (1000,))
        assert sessions() <= before
        connection.execute("UPDATE taskq_jobs SET status = 'cancelled', finished_at = now()")
        assert {job.id for job in await asyncio.gather(*waiting)} == set(ids)


async def test_a_task_that_returns_none_is_waited_for_without_a_stored_result(
    app: App, start: Start, face: WaitingFace
) -> None:
    @app.task
    async def clean() -> None: ...

    await start(app, concurrency=5)
    assert await face.defer_and_wait(clean) is None


async def test_what_is_not_stored_is_not_waited_for(app: App, face: WaitingFace) -> None:
    @app.task(name="count")
    async def count() -> int:
        return 1

    for waiting in (face.wait(count, 1), face.defer_and_wait(count)):
        with pytest.raises(InvalidSignature, match="declare it with store_result=True, or with"):
            await waiting
    assert await app.job_manager.count_jobs_async() == {}


async def test_a_job_that_failed_raises_its_stored_error(
    app: App, double: Task[..., Any], start: Start, face: WaitingFace
) -> None:
    await start(app, concurrency=5)
    with pytest.raises(JobFailed, match=r"\(double\) has failed .* ValueError: -1 is neg") as error:
        await face.defer_and_wait(double, number=-1)
    failed = error.value
    assert (failed.error_type, failed.error_message) == ("ValueError", "-1 is negative")
    assert failed.error_traceback.startswith("Traceback")
    assert failed.job_id is not None
    job = await app.job_manager.wait_for_job_async(failed.job_id)  # which raises nothing
    assert job.status is JobStatus.FAILED


async def test_a_job_that_is_retried_has_not_ended(
    app: App, start: Start, face: WaitingFace
) -> None:
    @app.task(pass_context=True, store_result=True, retry=RetryStrategy(max_attempts=3, wait=0))
    async def third(context: JobContext) -> int:
        if context.job.attempt < 3:
            raise ValueError
        return context.job.attempt

    await start(app, concurrency=5)
    assert await face.defer_and_wait(third) == 3


async def test_a_job_that_was_cancelled_or_aborted_says_so(
    app: App, double: Task[..., Any], start: Start, face: WaitingFace
) -> None:
    began = asyncio.Event()

    @app.task
    async def rest() -> None:
        began.set()
        await asyncio.Event().wait()

    job_id = await double.configure(schedule_in={"days": 1}).defer_async(number=1)
    waiting = asyncio.create_task(face.wait(double, job_id, timeout=15))
    await until(app.database.waiters.awaited_ids)
    await app.job_manager.cancel_job_by_id_async(job_id)
    with pytest.raises(JobCancelled, match="was cancelled before it began"):
        await waiting
    await start(app, concurrency=5)
    job_id = await rest.defer_async()
    await began.wait()
    waiting = asyncio.create_task(face.wait(rest, job_id, timeout=15))
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    with pytest.raises(JobAborted) as error:
        await waiting
    assert error.value.job_id == job_id


async def test_a_timeout_leaves_the_job_alone(
    app: App, double: Task[..., Any], drain: Drain, face: WaitingFace
) -> None:
    with pytest.raises(WaitTimeout, match=r"has not ended within 0\.05 s, and goes on") as error:
        await face.defer_and_wait(double.configure(wait_timeout=0.05), number=1)
    await drain(app)
    assert await face.wait(double, error.value.job_id) == 2


async def test_a_job_of_another_task_is_refused_before_it_ends(
    app: App, double: Task[..., Any], drain: Drain, face: WaitingFace
) -> None:
    @app.task(name="other")
    async def other() -> None: ...

    job_id = await other.defer_async()
    with pytest.raises(ResultNotAvailable, match="is one of task 'other'"):
        await face.wait(double, job_id)
    twice = await app.configure_task("twice").defer_async(number=1)
    await drain(app)
    with pytest.raises(ResultNotAvailable, match="is one of task 'other'"):
        await face.wait(double, job_id)
    assert await face.wait(double, twice) == 2


async def test_a_result_that_was_never_stored_or_is_not_kept_says_so(
    app: App, make_app: MakeApp, double: Task[..., Any], drain: Drain, face: WaitingFace
) -> None:
    before = make_app()

    @before.task(name="double")
    async def unstored(number: int) -> int:
        return number

    job_id = await double.defer_async(number=1)
    await drain(before)
    with pytest.raises(ResultNotAvailable, match="stored no result; it ran before"):
        await face.wait(double, job_id)
    await app.job_manager.delete_jobs_async(ids=[job_id])
    with pytest.raises(JobNotFound, match=f"no job has the id {job_id}, to be waited for"):
        await face.wait(double, job_id)


async def test_a_job_that_its_worker_deletes_ends_the_wait(
    app: App, double: Task[..., Any], start: Start, face: WaitingFace
) -> None:
    await start(app, delete_jobs="always")
    with pytest.raises(JobNotFound, match=r"was deleted while .* workers run with delete_jobs"):
        await face.defer_and_wait(double, number=1)


async def test_deferring_and_waiting_is_neither_in_a_transaction_nor_skipped(
    app: App, double: Task[..., Any], database_url: str
) -> None:
    engine = create_async_engine(database_url)
    async with engine.connect() as connection:
        with pytest.raises(InvalidJob, match="no worker sees the job before the transaction"):
            await double.configure(connection=connection).defer_and_wait_async(number=1)
    await engine.dispose()
    skipping: Any = double.configure(on_conflict="skip", queueing_lock="a")
    with pytest.raises(InvalidJob, match="there may be no job"):
        await skipping.defer_and_wait_async(number=1)


async def test_a_job_with_an_idempotency_key_is_waited_for_by_every_process_that_defers_it(
    app: App, double: Task[..., Any], start: Start, face: WaitingFace
) -> None:
    once = double.configure(idempotency_key="a", wait_timeout=15)
    job_id = await once.defer_async(number=3)
    await start(app, concurrency=5)
    assert await face.defer_and_wait(once, number=4) == 6
    assert await face.wait(double, job_id) == 6


# By a task


async def test_a_task_that_waits_for_one_of_its_own_queue_is_warned_of(
    app: App, double: Task[..., Any], start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(store_result=True)
    async def quadruple(number: int) -> int:
        half: int = await double.configure(wait_timeout=15).defer_and_wait_async(number=number)
        return 2 * half

    @app.task(store_result=True, queue="elsewhere")
    def octuple(number: int) -> int:
        twice: int = double.configure(wait_timeout=15).defer_and_wait(number=number)
        return 4 * twice

    await start(app, concurrency=5)
    with caplog.at_level(logging.WARNING, "taskq"):
        assert await octuple.configure(wait_timeout=15).defer_and_wait_async(number=1) == 8
        assert not caplog.records
        assert await quadruple.configure(wait_timeout=15).defer_and_wait_async(number=1) == 4
    [record] = caplog.records
    assert vars(record)["action"] == "waiting_in_queue"
    assert vars(record)["queue_name"] == "default"


async def test_a_task_neither_waits_for_itself_nor_blocks_its_workers_loop(
    app: App, double: Task[..., Any], start: Start, finished: Finished
) -> None:
    @app.task(pass_context=True)
    async def wait(context: JobContext) -> None:
        with pytest.raises(InvalidOption, match="waits for itself"):
            await app.job_manager.wait_for_job_async(context.job.id)
        with pytest.raises(RuntimeError, match="would block the event loop of the worker"):
            double.wait(context.job.id + 1)

    await start(app, concurrency=5)
    job = await finished(await wait.defer_async())
    assert job.status is JobStatus.SUCCEEDED


async def test_a_task_does_not_abort_because_what_it_waits_for_did(
    app: App, start: Start, finished: Finished
) -> None:
    @app.task(queue="inner")
    async def inner() -> None:
        raise JobAborted

    @app.task(retry=1)
    async def outer() -> None:
        await inner.configure(wait_timeout=15).defer_and_wait_async()

    await start(app, concurrency=5)
    job = await finished(await outer.defer_async())
    assert (job.status, job.attempt) == (JobStatus.FAILED, 2)


async def test_without_a_waiting_caller_nothing_is_notified_or_marked(
    app: App, double: Task[..., Any], start: Start, connection: psycopg.Connection, drain: Drain
) -> None:
    connection.execute("SELECT taskq_listen()")
    await double.batch_defer_async({"number": 1}, {"number": -1})
    await drain(app)
    payloads = [notify.payload for notify in connection.notifies(timeout=0.1)]
    assert [payload for payload in payloads if payload.startswith("ended")] == []
    assert connection.execute("SELECT count(awaited) FROM taskq_jobs").fetchone() == (0,)


@pytest.mark.parametrize("wait_timeout", [0, -1, float("nan"), True, "5", timedelta(0)])
def test_a_wait_timeout_that_is_no_time_is_refused_when_it_is_configured(
    wait_timeout: Any, double: Task[..., Any]
) -> None:
    with pytest.raises(InvalidJob, match=r"^task 'double' got wait_timeout=.*: give seconds"):
        double.configure(wait_timeout=wait_timeout)


def test_a_misspelt_option_is_told_from_the_timeout(double: Task[..., Any]) -> None:
    misspelt: Any = {"wait_timout": 5}
    with pytest.raises(InvalidJob, match="did you mean 'wait_timeout'"):
        double.configure(**misspelt)
