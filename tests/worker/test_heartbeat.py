"""A worker says that it is alive, to the very end, and never runs on when it cannot."""

import asyncio
import time
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext, JobStatus, queries
from taskq.context import AbortReason
from tests.worker.conftest import Disturbed, Drain, Finished, Start, refused, until

SHORT = {"update_heartbeat_interval": 0.1, "stalled_worker_timeout": 0.6}


@pytest.fixture
def ran(app: App) -> list[float]:
    """When the app's task ``note`` ran."""
    ran: list[float] = []

    @app.task(name="note")
    async def note() -> None:
        ran.append(time.monotonic())

    return ran


def age(connection: psycopg.Connection, worker_id: int | None) -> float:
    """How many seconds ago a worker said that it is alive."""
    row = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp() - last_heartbeat)::float "
        "FROM taskq_workers WHERE id = %s",
        [worker_id],
    ).fetchone()
    assert row
    return float(row[0])


@pytest.mark.case(8)
async def test_a_worker_whose_heartbeat_fails_claims_nothing_until_it_succeeds(
    app: App, start: Start, disturbed: Disturbed, actions: Any, ran: list[float]
) -> None:
    """Case 8: the heartbeat's own statement fails for a while; it never runs on beatless."""
    await start(app, **SHORT)
    disturbed.before("beat", refused, times=15)
    await until(lambda: ("WARNING", "heartbeat_overdue") in actions(), "an overdue heartbeat")
    await app.tasks["note"].defer_async()
    await until(lambda: disturbed.calls["beat"] >= 15, "the last failure")
    assert ran == []
    await until(lambda: ran, "the job")
    assert actions().count(("WARNING", "database_failed")) == 1


@pytest.mark.case(8)
async def test_a_worker_whose_heartbeat_is_overdue_aborts_its_jobs_before_others_may_take_them(
    app: App,
    start: Start,
    connection: psycopg.Connection,
    disturbed: Disturbed,
    finished: Finished,
    actions: Any,
) -> None:
    """Case 8: what runs is cancelled, what it had claimed does not begin, and both run again later."""
    begun: list[int] = []
    ages: list[float] = []
    gate = asyncio.Event()

    @app.task(pass_context=True)
    async def wait(context: JobContext, number: int) -> None:
        begun.append(number)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            assert context.abort_reason() is AbortReason.OVERDUE
            ages.append(age(connection, context.job.worker_id))
            raise

    first, second = await wait.batch_defer_async({"number": 1}, {"number": 2})
    stalled = 1.5
    await start(app, prefetch=1, update_heartbeat_interval=0.1, stalled_worker_timeout=stalled)
    await until(lambda: begun, "the first job")
    disturbed.before("beat", refused, times=20)
    await until(lambda: ages, "its cancellation")
    assert max(ages) < stalled
    await until(lambda: disturbed.calls["beat"] >= 20, "the last failure")
    assert begun == [1]
    gate.set()
    for job_id in (first, second):
        job = await finished(job_id)
        assert job.status is JobStatus.SUCCEEDED
        assert (job.attempt, job.crashes) == (1, 0), "it was not the task's fault"
    assert begun == [1, 1, 2]
    assert await app.job_manager.list_failed_attempts_async(first) == []
    assert ("WARNING", "job_given_back") in actions()


@pytest.mark.case(8)
async def test_a_sync_task_can_see_that_the_heartbeat_of_its_worker_is_overdue(
    app: App, start: Start, disturbed: Disturbed, finished: Finished
) -> None:
    """And one that takes no notice, and that was not taken from its worker, ends as it would have."""
    seen: list[AbortReason | None] = []

    @app.task(pass_context=True, store_result=True)
    def look(context: JobContext) -> str:
        disturbed.before("beat", refused, times=10)
        while context.abort_reason() is None:
            time.sleep(0.01)
        seen.append(context.abort_reason())
        return "done"

    job_id = await look.defer_async()
    await start(app, **SHORT)
    assert (await finished(job_id)).result == "done"
    assert seen == [AbortReason.OVERDUE]


@pytest.mark.case(8)
async def test_a_worker_whose_heartbeat_hangs_claims_nothing_until_it_succeeds(
    app: App,
    start: Start,
    database_url: str,
    finished: Finished,
    actions: Any,
    ran: list[float],
) -> None:
    """Case 8: no answer at all, as on a connection that leads nowhere."""
    await start(app, **SHORT)
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute("LOCK TABLE taskq_workers IN ACCESS EXCLUSIVE MODE")
        await until(lambda: ("WARNING", "heartbeat_overdue") in actions(), "an overdue heartbeat")
        job_id = await app.tasks["note"].defer_async()
        await asyncio.sleep(0.3)
        assert ran == []
        other.rollback()
    assert (await finished(job_id)).status == "succeeded"


async def test_a_worker_beats_on_if_it_cannot_rescue_others(
    app: App, start: Start, connection: psycopg.Connection, disturbed: Disturbed, actions: Any
) -> None:
    worker = await start(app, **SHORT)
    disturbed.before("rescue_jobs", refused, times=1000)
    await until(lambda: disturbed.calls["rescue_jobs"], "a failure")
    deadline = time.monotonic() + 1.2
    while time.monotonic() < deadline:
        assert age(connection, worker.id) < 0.6
        await asyncio.sleep(0.02)
    assert actions().count(("WARNING", "database_failed")) == 1


async def test_a_worker_beats_while_sync_tasks_keep_all_its_threads(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    @app.task
    def block() -> None:
        time.sleep(1)

    await block.defer_async()
    running = asyncio.create_task(drain(app, **SHORT))
    beats: set[Any] = set()
    while not running.done():
        beats.update(connection.execute("SELECT last_heartbeat FROM taskq_workers").fetchall())
        await asyncio.sleep(0.05)
    await running
    assert len(beats) >= 4


@pytest.mark.slow
@pytest.mark.case(15)
async def test_a_worker_that_ran_a_million_jobs_unregisters_quickly(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    """Case 15: in under 100 ms."""
    worker = await start(app)
    # In a thread: it would block the worker's event loop for longer than that may be.
    await asyncio.to_thread(
        connection.execute,
        "INSERT INTO taskq_jobs "
        "(queue_name, task_name, args, status, worker_id, claim, started_at, finished_at) "
        "SELECT 'default', 'noop', '{}', 'succeeded', %s, 1, now(), now() "
        "FROM generate_series(1, 1000000)",
        [worker.id],
    )
    async with app.database.async_engine.connect() as another:
        began = time.monotonic()
        await another.run_sync(queries.workers.unregister_worker, worker.id)
        assert time.monotonic() - began < 0.1
    assert connection.execute("SELECT count(*) FROM taskq_workers").fetchone() == (0,)
