"""A job that kills its worker is found, and takes no innocent one with it."""

import asyncio
import signal
import time
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus
from tests.worker.conftest import Program, Start, statuses, until

pytestmark = pytest.mark.slow

SHORT = {"update_heartbeat_interval": 0.1, "stalled_worker_timeout": 0.5}


async def supervised(app: App, program: Program, **options: Any) -> int:
    """Run workers, one after the other, until all jobs are final; returns how many died."""
    deaths = 0
    deadline = time.monotonic() + 90
    process = program(**SHORT | options)
    while set(await statuses(app)) & {JobStatus.TODO, JobStatus.DOING}:
        assert time.monotonic() < deadline, f"{deaths} deaths, {await statuses(app)}"
        if process.poll() is not None:
            deaths += 1
            process = program(**SHORT | options)
        await asyncio.sleep(0.02)
    return deaths


def defer(app: App, task: str, jobs: int, **args: Any) -> list[int]:
    return app.configure_task(task).batch_defer(*[args] * jobs)


async def test_killers_fail_and_each_innocent_job_succeeds(app: App, program: Program) -> None:
    """Whether it ran beside one of them, had just ended, or was claimed ahead."""
    innocent = defer(app, "innocent", 10, seconds=0)
    guilty = defer(app, "killer", 2, seconds=0)
    innocent += defer(app, "innocent", 20, seconds=0.02)
    deaths = await supervised(app, program, concurrency=5, prefetch=10, max_crashes=2)
    for job_id in guilty:
        assert (await app.job_manager.get_job_async(job_id)).status is JobStatus.FAILED
    jobs = [await app.job_manager.get_job_async(job_id) for job_id in innocent]
    assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
    # Each death leaves five that may have been running, and tells them from the rest.
    assert sum(job.crashes for job in jobs) <= 5 * deaths
    assert deaths <= 5


async def test_what_was_only_claimed_when_a_worker_died_has_not_crashed(
    app: App, program: Program
) -> None:
    [killer] = defer(app, "killer", 1, seconds=0.3)
    behind = defer(app, "innocent", 5, seconds=0)
    await supervised(app, program, concurrency=1, prefetch=5, max_crashes=2)
    job = await app.job_manager.get_job_async(killer)
    assert (job.status, job.crashes) == (JobStatus.FAILED, 2)
    failed = await app.job_manager.list_failed_attempts_async(killer)
    assert "ran nothing else" in failed[-1].error_message
    for job_id in behind:
        job = await app.job_manager.get_job_async(job_id)
        assert (job.status, job.crashes, job.attempt) == (JobStatus.SUCCEEDED, 0, 1)


async def test_jobs_that_kill_only_together_are_parted(app: App, program: Program) -> None:
    together = defer(app, "accomplice", 2, seconds=0.2)
    assert await supervised(app, program, concurrency=2, max_crashes=2) == 1
    for job_id in together:
        job = await app.job_manager.get_job_async(job_id)
        assert (job.status, job.crashes) == (JobStatus.SUCCEEDED, 1)


async def test_a_suspect_runs_alone(app: App, start: Start, connection: psycopg.Connection) -> None:
    """It is all that its worker has in the database, at its beginning and until its end."""
    seen: list[list[int]] = []
    suspects: set[int] = set()

    def doing() -> list[int]:
        rows = connection.execute("SELECT id FROM taskq_jobs WHERE status = 'doing'").fetchall()
        return [row[0] for row in rows]

    @app.task(pass_context=True)
    async def look(context: Any) -> None:
        for _ in range(2):
            if context.job.id in suspects:
                seen.append(doing())
            await asyncio.sleep(0.02)

    ids = await look.batch_defer_async(*[{}] * 12)
    suspects.update(ids[2:5])
    connection.execute("UPDATE taskq_jobs SET crashes = 2 WHERE id = ANY(%s)", [ids[2:5]])
    await start(app, concurrency=4, prefetch=3)
    await all_succeed(app, 12)
    assert seen == [[id_] for id_ in ids[2:5] for _ in range(2)]


async def test_a_suspect_that_waits_for_long_runs_beside_what_does_not_end(
    app: App, start: Start, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("suspicion", "executor_pool"):
        monkeypatch.setattr(f"taskq.worker.{module}.LONGEST_WAIT", 0.3)
    gate = asyncio.Event()
    ran: list[str] = []

    @app.task
    async def note(name: str, waits: bool = False) -> None:
        ran.append(name)
        if waits:
            await gate.wait()

    await start(app, concurrency=2)
    await note.defer_async(name="endless", waits=True)
    await until(lambda: ran, "the first job")
    job_id = await note.configure(schedule_in={"hours": 1}).defer_async(name="suspect")
    connection.execute("UPDATE taskq_jobs SET crashes = 2 WHERE id = %s", [job_id])
    await app.job_manager.reschedule_job_async(job_id, schedule_in={"seconds": 0})
    await until(lambda: ran == ["endless", "suspect"], "the suspect")
    gate.set()
    await all_succeed(app, 2)


async def all_succeed(app: App, jobs: int) -> None:
    deadline = time.monotonic() + 15
    while await statuses(app) != {JobStatus.SUCCEEDED: jobs}:
        assert time.monotonic() < deadline, await statuses(app)
        await asyncio.sleep(0.02)


async def test_a_worker_that_is_killed_for_not_stopping_was_not_killed_by_its_jobs(
    app: App, start: Start, program: Program, connection: psycopg.Connection
) -> None:
    """As deploys do it, as often as they like."""

    def row(query: str) -> Any:
        return connection.execute(query).fetchone()

    ids = app.configure_task("nap", queue="deployed").batch_defer(*[{"seconds": 600}] * 2)
    connection.execute("UPDATE taskq_jobs SET crashes = 1")
    await start(app, queues=["other"], **SHORT)
    for _ in range(2):
        process = program(queues="deployed", concurrency=2, **SHORT)
        await until(
            lambda: row("SELECT count(*) FROM taskq_jobs WHERE status = 'doing'") == (2,),
            "running jobs",
            seconds=30,
        )
        process.send_signal(signal.SIGTERM)
        await until(
            lambda: row("SELECT count(*) FROM taskq_workers WHERE stopping") == (1,),
            "a worker that is known to stop",
        )
        process.kill()
        await until(
            lambda: row("SELECT count(*) FROM taskq_jobs WHERE status = 'todo'") == (2,),
            "rescued jobs",
        )
    for job_id in ids:
        assert (await app.job_manager.get_job_async(job_id)).crashes == 1
