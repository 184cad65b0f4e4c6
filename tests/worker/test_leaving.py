"""A worker stops in whatever way and whenever it is asked, and waits for nothing if it is asked twice."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from taskq import App, Worker
from taskq.job import JobStatus
from taskq.worker.canceller import Canceller
from taskq.worker.completer import Completer
from taskq.worker.heartbeat import Heartbeat
from taskq.worker.producer import Producer
from taskq.worker.rescuer import Rescuer
from taskq.worker.scheduler import Scheduler
from taskq.worker.service import Service
from taskq.worker.subscriber import Subscriber
from tests.worker.conftest import (
    ROOT,
    Disturbed,
    Finished,
    Program,
    Start,
    delayed,
    statuses,
    until,
)


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_task_may_stop_its_worker_and_still_succeeds(app: App, is_async: bool) -> None:
    workers: list[Worker] = []

    async def stop_async() -> None:
        workers[0].stop()
        await asyncio.sleep(0.05)

    def stop() -> None:
        workers[0].stop()
        time.sleep(0.05)

    task = app.task(name="stop")(stop_async if is_async else stop)
    await task.batch_defer_async({}, {})
    workers.append(app.worker(install_signal_handlers=False))
    async with asyncio.timeout(10):
        await workers[0].run()
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1, JobStatus.TODO: 1}


async def test_a_worker_that_is_stopped_before_it_runs_runs_nothing(app: App) -> None:
    @app.task
    async def noop() -> None: ...

    await noop.defer_async()
    worker = app.worker(install_signal_handlers=False)
    worker.stop()
    async with asyncio.timeout(5):
        await worker.run()
    assert await statuses(app) == {JobStatus.TODO: 1}


def test_stopping_a_worker_that_has_ended_does_nothing(database_url: str) -> None:
    """As a thread does that comes too late: the event loop is closed by then."""
    app = App(database_url)
    worker = app.worker(wait=False, install_signal_handlers=False)

    async def run() -> None:
        await worker.run()
        await app.close_async()

    asyncio.run(run())
    worker.stop()


async def test_it_leaves_a_sync_task_behind_that_does_not_end(app: App) -> None:
    release = threading.Event()
    begun = threading.Event()

    @app.task
    def hang() -> None:
        begun.set()
        release.wait(60)

    await hang.defer_async()
    worker = app.worker(install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await until(begun.is_set, "the job")
    try:
        worker.stop()
        worker.stop()
        async with asyncio.timeout(2):
            await running
        assert await statuses(app) == {JobStatus.TODO: 1}
    finally:
        release.set()


def test_a_second_signal_ends_a_process_whose_sync_task_does_not_end(
    program: Program, database_url: str, tmp_path: Path
) -> None:
    app = App(database_url)
    try:
        app.configure_task("doze").defer(seconds=600)
        process = program()
        notes = tmp_path / "notes"
        deadline = time.monotonic() + 30
        while not notes.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert {status for _, _, status in app.job_manager.count_jobs()} == {JobStatus.TODO}
    finally:
        app.close()


async def test_a_sync_task_that_is_interrupted_fails_alone(
    app: App, start: Start, finished: Finished
) -> None:
    @app.task
    def interrupt() -> None:
        raise KeyboardInterrupt

    await start(app)
    for _ in range(2):
        job = await finished(await interrupt.defer_async())
        assert job.status is JobStatus.FAILED


async def test_more_sync_tasks_than_threads_all_run(app: App, start: Start) -> None:
    """Threads are used again, and there are no more of them than slots."""
    threads: set[int] = set()
    runs: list[int] = []

    @app.task
    def note(number: int) -> None:
        threads.add(threading.get_ident())
        time.sleep(0.002)
        runs.append(number)

    await note.batch_defer_async(*({"number": number} for number in range(60)))
    await start(app, concurrency=3)
    await until(lambda: len(runs) == 60, "all jobs")
    assert sorted(runs) == list(range(60))
    assert len(threads) <= 3


async def test_what_a_claim_under_way_brings_to_a_worker_that_leaves_goes_back(
    app: App, disturbed: Disturbed, connection: psycopg.Connection
) -> None:
    @app.task
    async def noop() -> None: ...

    await noop.batch_defer_async({}, {})
    connection.execute("UPDATE taskq_jobs SET given_back = 2")
    on_its_way = asyncio.Event()

    def late(connection: Connection) -> None:
        on_its_way.set()
        delayed(0.3)(connection)

    disturbed.after("claim_jobs", late)
    worker = app.worker(concurrency=2, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(15):
        await on_its_way.wait()
        worker.stop()
        worker.stop()
        await running
    assert await statuses(app) == {JobStatus.TODO: 2}
    counted = connection.execute("SELECT given_back FROM taskq_jobs").fetchall()
    assert counted == [(2,), (2,)], "as they came"


@pytest.mark.parametrize(
    "part", [Canceller, Producer, Completer, Heartbeat, Rescuer, Scheduler, Subscriber]
)
async def test_a_worker_leaves_when_a_part_of_it_breaks(
    app: App, monkeypatch: pytest.MonkeyPatch, actions: Any, part: type[Service]
) -> None:
    """Above all without its heartbeat it must not run on, and not wait for what is not written."""
    begun, broken = asyncio.Event(), threading.Event()
    loop = part.loop

    async def until_broken(self: Service) -> None:
        working = asyncio.create_task(loop(self))
        # The loop of some runs in a thread of its own.
        await asyncio.to_thread(broken.wait)
        working.cancel()
        await asyncio.wait([working])
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(part, "loop", until_broken)

    @app.task
    async def sleep() -> None:
        begun.set()
        await asyncio.sleep(600)

    await sleep.defer_async()
    running = asyncio.create_task(app.worker(install_signal_handlers=False).run())
    async with asyncio.timeout(15):
        await begun.wait()
    broken.set()
    await until(running.done, "its end", seconds=8)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await running
    assert ("CRITICAL", "worker_broken") in actions()
    # A worker that cannot write leaves it to the rescue.
    left = JobStatus.DOING if part is Completer else JobStatus.TODO
    assert await statuses(app) == {left: 1}


async def test_a_task_that_took_no_notice_of_its_abortion_is_cancelled_again_at_the_end(
    app: App,
) -> None:
    begun, ignored = asyncio.Event(), asyncio.Event()

    @app.task
    async def stubborn() -> None:
        begun.set()
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            ignored.set()
        await asyncio.sleep(600)

    job_id = await stubborn.defer_async()
    worker = app.worker(shutdown_graceful_timeout=0.1, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(15):
        await begun.wait()
        await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
        await ignored.wait()
        worker.stop()
        await running
    assert await statuses(app) == {JobStatus.ABORTED: 1}


CLOSES_ITS_LOOP = """
import asyncio, time
from taskq import App

worker = App().worker(install_signal_handlers=False)
loop = asyncio.new_event_loop()
running = loop.create_task(worker.run())

async def at_work():
    while not (worker._services and worker._services.producer.runs):
        await asyncio.sleep(0.01)

loop.run_until_complete(at_work())
loop.close()
print("closed", flush=True)
time.sleep(60)
"""


def test_a_worker_whose_event_loop_is_closed_under_it_does_not_stay_alive(
    database_url: str, connection: psycopg.Connection
) -> None:
    """Nothing would stop its heartbeat any more, and no worker run its jobs."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLOSES_ITS_LOOP],
        env={**os.environ, "TASKQ_DATABASE_URL": database_url, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "closed\n"
        workers = "SELECT count(*) FROM taskq_workers"
        asyncio.run(until(lambda: connection.execute(workers).fetchone() == (0,), "its end"))
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
