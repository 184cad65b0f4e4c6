"""What becomes of the jobs of a worker that died, or was taken for dead."""

import asyncio
import os
import signal
import subprocess
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext
from taskq.context import AbortReason
from taskq.job import JobStatus
from tests.worker.conftest import Finished, MakeApp, Program, Start, statuses, until

HEARTBEAT = 0.5
STALLED = 2.0
SHORT = {"update_heartbeat_interval": HEARTBEAT, "stalled_worker_timeout": STALLED}


@pytest.fixture
def notes(tmp_path: Path) -> Any:
    """How many jobs the worker in a process of its own has begun."""

    def count() -> int:
        path = tmp_path / "notes"
        return len(path.read_text().splitlines()) if path.exists() else 0

    return count


def kill(process: "subprocess.Popen[str]") -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.case(13)
async def test_the_jobs_of_a_killed_worker_run_again_by_themselves(
    app: App, connection: psycopg.Connection, start: Start, program: Program, notes: Any
) -> None:
    """Case 13: 20 running jobs; within ``stalled_worker_timeout`` plus a heartbeat, by the server's clock."""

    @app.task(name="nap")
    async def nap(seconds: float) -> None: ...

    ids = [
        await nap.configure(lock=f"lock {number}" if number % 2 else None).defer_async(seconds=600)
        for number in range(20)
    ]
    process = program(concurrency=20, **SHORT)
    await until(lambda: notes() == 20, "20 running jobs", seconds=30)
    await start(app, concurrency=20, **SHORT)
    kill(process)
    [killed] = connection.execute("SELECT clock_timestamp()").fetchone() or ()
    await until_all(app, JobStatus.SUCCEEDED, 20)
    for job_id in ids:
        [died] = await app.job_manager.list_failed_attempts_async(job_id)
        assert died.failed_at - killed < timedelta(seconds=STALLED + HEARTBEAT)


async def test_a_job_that_takes_its_worker_down_a_third_time_ends_failed(
    app: App,
    connection: psycopg.Connection,
    start: Start,
    finished: Finished,
    program: Program,
    notes: Any,
) -> None:
    job_id = await app.configure_task("nap", queue="poison").defer_async(seconds=600)
    # So short that it is rescued soon, and so long that no slow one is taken for dead.
    short = {"update_heartbeat_interval": 0.1, "stalled_worker_timeout": 61}
    await start(app, queues=["healthy"], **short)
    for crash in (1, 2, 3):
        process = program(queues="poison", **short)
        await until(lambda crash=crash: notes() == crash, "the job", seconds=30)  # type: ignore[misc]
        kill(process)
        job = await app.job_manager.get_job_async(job_id)
        assert job.worker_id is not None
        declared_dead(connection, job.worker_id)
    job = await finished(job_id)
    assert (job.status, job.crashes) == (JobStatus.FAILED, 3)
    failed = await app.job_manager.list_failed_attempts_async(job_id)
    assert [attempt.error_type for attempt in failed] == ["taskq.exceptions.WorkerDied"] * 3
    assert "crash number 3" in failed[-1].error_message


@pytest.mark.parametrize(("crashes", "status"), [(0, JobStatus.SUCCEEDED), (1, JobStatus.FAILED)])
async def test_how_many_workers_a_job_may_take_down_can_be_said(
    app: App,
    start: Start,
    finished: Finished,
    connection: psycopg.Connection,
    crashes: int,
    status: JobStatus,
) -> None:
    @app.task(name="nap")
    async def nap() -> None: ...

    [job_id] = dead_with_jobs(connection, jobs=1, crashes=crashes)
    await start(app, max_crashes=2)
    job = await finished(job_id)
    assert (job.status, job.crashes) == (status, crashes + 1)


async def test_the_dead_are_found_when_they_die_and_not_at_the_next_heartbeat(
    app: App, start: Start, finished: Finished, connection: psycopg.Connection
) -> None:
    @app.task(name="nap")
    async def nap() -> None: ...

    [job_id] = dead_with_jobs(connection, jobs=1, silent_for="59.5 seconds")
    # For which no test waits.
    await start(app, update_heartbeat_interval=30, stalled_worker_timeout=60)
    assert (await finished(job_id)).status is JobStatus.SUCCEEDED


def dead_with_jobs(
    connection: psycopg.Connection, jobs: int, crashes: int = 0, silent_for: str = "1 hour"
) -> list[int]:
    """A worker that says nothing more, and the jobs of the task ``nap`` that it had."""
    rows = connection.execute(
        "WITH dead AS (INSERT INTO taskq_workers (name, last_heartbeat) "
        "VALUES ('dead', now() - %s::interval) RETURNING id) "
        "INSERT INTO taskq_jobs "
        "(queue_name, task_name, args, status, worker_id, claim, started_at, crashes) "
        "SELECT 'default', 'nap', '{}', 'doing', dead.id, 1, now(), %s "
        "FROM dead, generate_series(1, %s) RETURNING id",
        [silent_for, crashes, jobs],
    ).fetchall()
    return [row[0] for row in rows]


def declared_dead(connection: psycopg.Connection, worker_id: int) -> None:
    """The last heartbeat of a worker was long ago."""
    connection.execute(
        "UPDATE taskq_workers SET last_heartbeat = now() - interval '1 hour' WHERE id = %s",
        [worker_id],
    )


class Slow:
    """A task of one app that waits for its gate, whatever it is asked."""

    def __init__(self, app: App, name: str, *, fails: bool = False) -> None:
        self.gate = asyncio.Event()
        self.reasons: list[AbortReason | None] = []
        self.ended = 0

        @app.task(name="slow", store_result=True, lock="a lock", retry=1, pass_context=True)
        async def slow(context: JobContext) -> str:
            self.reasons.append(None)
            # Not for ever: if the test fails, its event loop has to close.
            end = time.monotonic() + 30
            while not self.gate.is_set() and time.monotonic() < end:
                try:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self.gate.wait(), 1)
                except asyncio.CancelledError:
                    self.reasons.append(context.abort_reason())
            self.ended += 1
            if fails:
                raise ValueError("too late")
            return name

        self.task = slow


@pytest.mark.case(6)
@pytest.mark.parametrize("fails", [False, True])
async def test_a_worker_that_was_taken_for_dead_cannot_end_the_second_attempt(
    make_app: MakeApp,
    start: Start,
    connection: psycopg.Connection,
    actions: Any,
    fails: bool,
) -> None:
    """Case 6: it wakes up and finishes its job, which changes nothing."""
    late_app, other_app = make_app(), make_app()
    late, other = Slow(late_app, "late", fails=fails), Slow(other_app, "other")
    job_id = await late.task.defer_async()
    # Its next heartbeat is far away: it does not know that it is dead.
    dead = await start(
        late_app,
        update_heartbeat_interval=60,
        stalled_worker_timeout=61,
        abort_job_polling_interval=60,
    )
    await until(lambda: late.reasons, "the first attempt")
    alive = await start(other_app, update_heartbeat_interval=0.1, stalled_worker_timeout=61)
    declared_dead(connection, dead.id)
    await until(lambda: other.reasons, "the second attempt")

    late.gate.set()
    await until(lambda: ("WARNING", "job_lost") in actions(), "a write that is refused")
    job = await other_app.job_manager.get_job_async(job_id)
    assert (job.status, job.worker_id, job.attempt) == ("doing", alive.id, 2)
    held = connection.execute("SELECT lock, id FROM taskq_jobs WHERE status = 'doing'").fetchall()
    assert held == [("a lock", job_id)]
    assert late.ended == 1

    other.gate.set()
    await until_all(other_app, JobStatus.SUCCEEDED, 1)
    job = await other_app.job_manager.get_job_async(job_id)
    assert other.task.result(job) == "other"
    failed = await other_app.job_manager.list_failed_attempts_async(job_id)
    assert [attempt.error_type for attempt in failed] == ["taskq.exceptions.WorkerDied"]


async def test_a_worker_that_learns_that_it_was_taken_for_dead_aborts_what_it_lost(
    make_app: MakeApp, start: Start, connection: psycopg.Connection
) -> None:
    late_app, other_app = make_app(), make_app()
    late, other = Slow(late_app, "late"), Slow(other_app, "other")
    await late.task.defer_async()
    dead = await start(
        late_app,
        update_heartbeat_interval=0.5,
        stalled_worker_timeout=61,
        # It is its heartbeat that tells, and not what it asks about aborting.
        abort_job_polling_interval=60,
    )
    await until(lambda: late.reasons, "the first attempt")
    await start(other_app, update_heartbeat_interval=0.1, stalled_worker_timeout=61)
    declared_dead(connection, dead.id)
    await until(lambda: other.reasons, "the second attempt")
    await until(lambda: late.reasons == [None, AbortReason.OVERDUE], "its cancellation")
    late.gate.set()
    other.gate.set()
    await until_all(other_app, JobStatus.SUCCEEDED, 1)
    assert connection.execute("SELECT count(*) FROM taskq_workers").fetchone() == (2,)


async def test_of_many_rescuers_one_rescues(
    make_app: MakeApp, start: Start, connection: psycopg.Connection, actions: Any
) -> None:
    ran = 0
    apps = [make_app() for _ in range(4)]
    for app in apps:

        @app.task(name="nap")
        async def nap() -> None:
            nonlocal ran
            ran += 1

        await start(app, update_heartbeat_interval=0.1, stalled_worker_timeout=61)
    dead_with_jobs(connection, jobs=50)
    await until_all(apps[0], JobStatus.SUCCEEDED, 50)
    assert ran == 50
    await until(lambda: actions().count(("WARNING", "job_rescued")) >= 50, "a record of each")
    assert actions().count(("WARNING", "job_rescued")) == 50


async def until_all(app: App, status: JobStatus, jobs: int) -> None:
    deadline = time.monotonic() + 15
    while await statuses(app) != {status: jobs}:
        assert time.monotonic() < deadline, await statuses(app)
        await asyncio.sleep(0.02)
