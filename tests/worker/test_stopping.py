"""A worker stops in order, and in a hurry."""

import asyncio
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taskq import App, JobAborted, JobContext, JobStatus, RetryStrategy
from taskq.context import AbortReason
from tests.worker.conftest import MakeApp, Program, Start, statuses, until


class Sleeper:
    """A task that sleeps until it is let go, and says when it begins."""

    def __init__(self, app: App, **options: Any) -> None:
        self.begun = 0
        self.release = asyncio.Event()

        @app.task(name="sleep", **options)
        async def sleep() -> None:
            self.begun += 1
            await self.release.wait()

        self.task = sleep


async def run_until_begun(worker: Any, sleeper: Sleeper, jobs: int = 1) -> "asyncio.Task[None]":
    running = asyncio.create_task(worker.run())
    await until(lambda: sleeper.begun == jobs or running.done())
    return running


def from_a_thread(worker: Any) -> None:
    thread = threading.Thread(target=worker.stop)
    thread.start()
    thread.join()


@pytest.mark.parametrize("stop", [lambda worker: worker.stop(), from_a_thread])
async def test_running_jobs_finish_and_the_others_go_back_at_once(
    app: App, connection: psycopg.Connection, stop: Callable[[Any], None]
) -> None:
    sleeper = Sleeper(app)
    await sleeper.task.batch_defer_async({}, {}, {})
    worker = app.worker(concurrency=1, prefetch=1, install_signal_handlers=False)
    running = await run_until_begun(worker, sleeper)
    stop(worker)

    def waiting() -> list[tuple[int, int]]:
        return connection.execute(
            "SELECT claim, attempt FROM taskq_jobs WHERE status = 'todo' ORDER BY id"
        ).fetchall()

    # While the first is still running: the prefetched one was given back, and has used up no attempt.
    await until(lambda: waiting() == [(1, 0), (0, 0)])
    assert not running.done()
    sleeper.release.set()
    await running
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1, JobStatus.TODO: 2}
    assert connection.execute("SELECT count(*) FROM taskq_workers").fetchone() == (0,)


async def test_cancelling_the_task_that_runs_it_stops_a_worker_in_order(app: App) -> None:
    sleeper = Sleeper(app)
    await sleeper.task.defer_async()
    worker = app.worker(install_signal_handlers=False)
    running = await run_until_begun(worker, sleeper)
    running.cancel()
    await asyncio.sleep(0)  # the cancellation arrives
    sleeper.release.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1}


@pytest.mark.parametrize(("retry", "status"), [(False, JobStatus.ABORTED), (True, JobStatus.TODO)])
async def test_after_the_graceful_timeout_an_async_task_is_cancelled(
    app: App, retry: bool, status: JobStatus
) -> None:
    sleeper = Sleeper(app, retry=RetryStrategy(wait=60) if retry else False)
    await sleeper.task.defer_async()
    worker = app.worker(shutdown_graceful_timeout=0.1, install_signal_handlers=False)
    running = await run_until_begun(worker, sleeper)
    worker.stop()
    async with asyncio.timeout(10):
        await running
    assert await statuses(app) == {status: 1}


async def test_after_the_graceful_timeout_a_sync_task_is_told(app: App) -> None:
    begun = threading.Event()
    reasons: list[AbortReason | None] = []

    @app.task(pass_context=True)
    def work(context: JobContext) -> None:
        begun.set()
        while not context.should_abort():
            time.sleep(0.005)
        reasons.append(context.abort_reason())
        raise JobAborted

    await work.defer_async()
    worker = app.worker(shutdown_graceful_timeout=0.1, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await until(begun.is_set)
    worker.stop()
    async with asyncio.timeout(10):
        await running
    assert reasons == [AbortReason.SHUTDOWN]
    assert await statuses(app) == {JobStatus.ABORTED: 1}


async def test_told_twice_it_leaves_at_once_and_its_jobs_go_back(
    app: App, connection: psycopg.Connection
) -> None:
    release = threading.Event()
    begun = threading.Event()

    @app.task(lock="a")
    def deaf() -> None:
        begun.set()
        release.wait(30)

    job_id = await deaf.defer_async()
    worker = app.worker(install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await until(begun.is_set)
    worker.stop()
    worker.stop()
    try:
        async with asyncio.timeout(5):
            await running
        assert await statuses(app) == {JobStatus.TODO: 1}
        assert connection.execute(
            "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
        ).fetchone() == (0,)
        job = await app.job_manager.get_job_async(job_id)
        assert job.attempt == 1, "it had begun, so it counts"
    finally:
        release.set()


@pytest.mark.case(7)
async def test_heartbeats_go_on_while_it_stops(
    app: App, make_app: MakeApp, start: Start, connection: psycopg.Connection
) -> None:
    """Case 7: a running job is not rescued, however long the shutdown is."""
    sleeper = Sleeper(app)
    await sleeper.task.defer_async()
    short: dict[str, Any] = {"update_heartbeat_interval": 0.2, "stalled_worker_timeout": 1}
    worker = app.worker(install_signal_handlers=False, **short)
    running = await run_until_begun(worker, sleeper)
    worker.stop()
    # Another one, with another app's tasks, which would rescue.
    await start(make_app(), listen_notify=False, **short)

    def beats() -> set[Any]:
        return {
            row[0]
            for row in connection.execute(
                "SELECT last_heartbeat FROM taskq_workers WHERE id = %s", [worker.id]
            )
        }

    began, seen = time.monotonic(), beats()
    while time.monotonic() - began < 2 * short["stalled_worker_timeout"]:
        seen |= beats()
        await asyncio.sleep(0.05)
    assert len(seen) > 3
    sleeper.release.set()
    await running
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1}
    assert sleeper.begun == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_a_worker_in_order(
    program: Program, database_url: str, tmp_path: Path, number: signal.Signals
) -> None:
    app = App(database_url)
    try:
        app.configure_task("nap").defer(seconds=0.5)
        process = program()
        wait_for(tmp_path / "notes")
        process.send_signal(number)
        assert process.wait(15) == 0
        assert {status for _, _, status in app.job_manager.count_jobs()} == {JobStatus.SUCCEEDED}
    finally:
        app.close()


def test_a_second_signal_makes_it_leave_at_once(
    program: Program, database_url: str, tmp_path: Path
) -> None:
    app = App(database_url)
    try:
        app.configure_task("nap").defer(seconds=60)
        process = program()
        wait_for(tmp_path / "notes")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
        assert {status for _, _, status in app.job_manager.count_jobs()} == {JobStatus.TODO}
    finally:
        app.close()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 15
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not come about"
        time.sleep(0.01)
