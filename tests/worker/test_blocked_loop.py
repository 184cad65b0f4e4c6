"""A task that blocks the event loop is no dead worker, and is named."""

import asyncio
import logging
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskq import App
from taskq.job import JobStatus
from taskq.queries.workers import RegisteredWorker
from taskq.telemetry import LoopBlocked, Telemetry
from taskq.worker.loop_monitor import LoopMonitor
from taskq.worker.registration import Registration
from tests.worker.conftest import Finished, Program, Start, errors_of, until

pytestmark = pytest.mark.slow

SHORT = {"update_heartbeat_interval": 0.3, "stalled_worker_timeout": 1.2}


@pytest.fixture
def notes(tmp_path: Path) -> Any:
    """What the worker in a process of its own has noted so far."""

    def read() -> list[str]:
        path = tmp_path / "notes"
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def taken_over(app: App) -> list[str]:
    """What the app, which has the tasks of ``program.py`` as well, was given to run."""
    ran: list[str] = []

    @app.task(name="hog")
    async def hog(seconds: float) -> None:
        ran.append("hog")

    @app.task(name="nap")
    async def nap(seconds: float) -> None:
        ran.append("nap")

    return ran


async def stopped(process: "subprocess.Popen[str]") -> str:
    """Stop a worker in a process of its own; returns what it logged."""
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    return await asyncio.to_thread(process.stderr.read)


async def test_a_job_that_blocks_the_event_loop_is_not_run_again_beside_itself(
    app: App,
    start: Start,
    program: Program,
    finished: Finished,
    notes: Any,
    taken_over: list[str],
) -> None:
    """For three times as long as a worker may be silent."""
    job_id = await app.tasks["hog"].configure(lock="one").defer_async(seconds=3.6)
    process = program(**SHORT)
    await until(lambda: notes() == ["hog"], "the job", seconds=30)
    await start(app, **SHORT)
    job = await finished(job_id)
    assert (job.status, job.attempt, job.crashes) == (JobStatus.SUCCEEDED, 1, 0)
    assert notes() == ["hog", "hog ended"]
    assert taken_over == []
    said = await stopped(process)
    assert said.count(f"job {job_id} ('hog') blocks it\n") == 1
    assert "time.sleep(seconds)" in said, "where it is"
    assert "worker_" not in said
    assert "for dead" not in said


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_it_is_named_with_its_stack_while_it_blocks(
    app: App, program: Program, notes: Any, loop: str
) -> None:
    job_id = await app.configure_task("hog").defer_async(seconds=20)
    process = program(loop=loop)
    said = ""
    assert process.stderr is not None
    while "time.sleep(seconds)" not in said:
        said += await asyncio.to_thread(process.stderr.readline)
    assert f"for 1.0 s, as job {job_id} ('hog') blocks it" in said
    assert "in hog\n" in said
    assert notes() == ["hog"], "it has not ended"
    process.kill()


async def test_a_loop_that_is_blocked_for_too_long_gives_its_jobs_to_others(
    app: App, start: Start, program: Program, notes: Any, taken_over: list[str]
) -> None:
    """And when it turns again, what runs on it is aborted before it runs beside its second run."""
    nap = await app.tasks["nap"].defer_async(seconds=600)
    process = program(concurrency=2, blocked_loop_timeout=1, **SHORT)
    await until(lambda: notes() == ["nap"], "the first job", seconds=30)
    hog = await app.tasks["hog"].defer_async(seconds=5)
    await until(lambda: notes() == ["nap", "hog"], "the second job")
    await start(app, concurrency=2, **SHORT)
    await until(lambda: sorted(taken_over) == ["hog", "nap"], "others that take over")
    assert "hog ended" not in notes()
    await until(lambda: "nap cancelled" in notes(), "the cancellation of the first run")
    said = await stopped(process)
    assert process.wait(5) == 0
    assert "says no more that it is alive" in said
    assert "blocked_loop_timeout=1 s" in said
    assert len(taken_over) == 2
    for job_id in (nap, hog):
        job = await app.job_manager.get_job_async(job_id)
        assert (job.status, job.claim) == (JobStatus.SUCCEEDED, 2)
        assert [kind for kind, _ in await errors_of(app, job_id)] == ["taskq.exceptions.WorkerDied"]


async def test_what_blocks_the_event_loop_is_named_once_with_where_it_is_and_for_how_long(
    app: App, start: Start, finished: Finished, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(name="crunch")
    async def crunch() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    async def part() -> None:
        time.sleep(2.2)  # noqa: ASYNC251

    caplog.set_level(logging.INFO, "taskq")
    await start(app)
    job_id = await crunch.defer_async()
    await finished(job_id)

    def blocks() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == "taskq.worker.loop_monitor"]

    await until(lambda: len(blocks()) == 2, "both records")
    blocked, unblocked = blocks()
    assert f"job {job_id} ('crunch') blocks it" in blocked.getMessage()
    assert "in part" in (blocked.stack_info or "")
    facts = [(vars(record)["action"], vars(record)["job_ids"]) for record in blocks()]
    assert facts == [("loop_blocked", [job_id]), ("loop_unblocked", [job_id])]
    assert 1 <= vars(blocked)["duration"] < vars(unblocked)["duration"] <= 2.3


async def test_a_loop_that_is_closed_while_it_is_blocked_is_monitored_no_longer() -> None:
    telemetry, blocked = Telemetry(), asyncio.Event()
    telemetry.subscribe(LoopBlocked, lambda _: blocked.set())
    row = RegisteredWorker(id=1, incarnation="", last_heartbeat=datetime.now(UTC), server_time=0)
    registration = Registration("closing", None, row)

    async def monitor() -> LoopMonitor:
        return LoopMonitor(registration, telemetry=telemetry, jobs_of=lambda _: [])

    # It turns no more once the monitor is made.
    loop = asyncio.new_event_loop()
    made = await asyncio.to_thread(loop.run_until_complete, monitor())
    monitoring = asyncio.create_task(made.loop())
    async with asyncio.timeout(10):
        await blocked.wait()
        loop.close()
        await monitoring
