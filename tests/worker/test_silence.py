"""Connections that go silent for ever, and statements that never succeed: a worker that is alive works."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text

from taskq import App, JobContext, Task, queries
from taskq.context import AbortReason
from taskq.database.bridges import bridge
from taskq.job import JobStatus
from taskq.queries.job_commit import ClaimedJob
from tests.worker.conftest import (
    Disturbed,
    Finished,
    Line,
    MakeApp,
    Start,
    Way,
    cut_off,
    errors_of,
    idle,
    statuses,
    until,
)
from tests.worker.effects import Effects

pytestmark = pytest.mark.slow

# A statement has a second and a half.
SHORT: dict[str, Any] = {"update_heartbeat_interval": 0.5, "stalled_worker_timeout": 3}
RECOVERED_WITHIN = 3.0  # seconds

WAYS = pytest.mark.parametrize("ways", [["to server", "back"], ["to server"], ["back"]])


class Failing:
    """Cuts connections off until it ends, so that no worker has to be stopped while it does."""

    def __init__(self) -> None:
        self.ends = False

    def __call__(self, connection: Connection) -> None:
        if not self.ends:
            cut_off(connection)


class Gated:
    """A task that waits for its gate."""

    def __init__(self, app: App) -> None:
        self.begun: list[int] = []
        self.gate = asyncio.Event()
        self.reasons: list[AbortReason | None] = []

        @app.task(name="gated", pass_context=True)
        async def gated(context: JobContext) -> None:
            self.begun.append(context.job.id)
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.reasons.append(context.abort_reason())
                raise

        self.task = gated


@WAYS
async def test_what_ends_on_silent_connections_is_written_and_the_next_job_runs(
    app: App,
    far_app: App,
    line: Line,
    start: Start,
    finished: Finished,
    actions: Any,
    ways: Sequence[Way],
) -> None:
    """Where only answers are lost, ends are written twice and claims are found again."""
    far, near = Gated(far_app), Gated(app)
    first = await near.task.defer_async()
    worker = await start(far_app, abort_job_polling_interval=0.3, **SHORT)
    await until(lambda: far.begun == [first], "the first job")
    line.die(ways=ways)
    began = time.monotonic()
    far.gate.set()
    second = await near.task.defer_async()
    for job_id in (first, second):
        job = await finished(job_id)
        assert (job.status, job.attempt, job.worker_id) == (JobStatus.SUCCEEDED, 1, worker.id)
    # The end and the claim, one after the other; or a claim, twice not in hand.
    assert time.monotonic() - began < 2 * RECOVERED_WITHIN
    assert far.begun == [first, second]
    assert not {"heartbeat_overdue", "heartbeat_withheld"} & {action for _, action in actions()}


@WAYS
async def test_a_listening_connection_that_went_silent_is_replaced(
    app: App, far_app: App, line: Line, start: Start, disturbed: Disturbed, ways: Sequence[Way]
) -> None:
    far, near = Gated(far_app), Gated(app)
    far.gate.set()
    disturbed.count("listen")
    worker = await start(far_app, fetch_job_polling_interval=60, **SHORT)
    await idle(worker)
    heard = disturbed.calls["listen"]
    line.die(ways=ways)
    # A second until it asks for a sign of life.
    await until(lambda: disturbed.calls["listen"] > heard, "another one", 1 + RECOVERED_WITHIN)
    job_id = await near.task.defer_async()
    # The connection for claims has to be replaced as well.
    await until(lambda: far.begun == [job_id], "the job", RECOVERED_WITHIN)


@pytest.mark.parametrize(("also_new", "seconds"), [(False, 9), (True, 17)])
async def test_a_worker_stops_though_its_connections_are_silent(
    far_app: App, line: Line, app: App, finished: Finished, also_new: bool, seconds: float
) -> None:
    """With the bounds of a worker in earnest, while it claims, ends a job and beats."""
    far, near = Gated(far_app), Gated(app)

    @far_app.task(name="noop")
    async def noop() -> None: ...

    worker = far_app.worker(
        concurrency=2,
        fetch_job_polling_interval=0.2,
        abort_job_polling_interval=0.2,
        update_heartbeat_interval=0.2,
        install_signal_handlers=False,
    )
    running = asyncio.create_task(worker.run())
    # So that there is a connection for ends.
    await finished(await app.configure_task("noop").defer_async())
    await near.task.defer_async()
    await until(lambda: far.begun, "the job")
    line.die(also_new=also_new)
    await asyncio.sleep(0.5)
    worker.stop()
    far.gate.set()
    async with asyncio.timeout(seconds):
        await running
    ended = await statuses(app)
    assert ended == (
        {JobStatus.SUCCEEDED: 1, JobStatus.DOING: 1} if also_new else {JobStatus.SUCCEEDED: 2}
    )


def refuse(connection: psycopg.Connection, application: str, new: str) -> None:
    """What an application would write into jobs fails, again and again."""
    connection.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'not by this one' USING ERRCODE = '40001'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON taskq_jobs FOR EACH ROW
        WHEN (current_setting('application_name') = '{application}' AND {new})
        EXECUTE FUNCTION refuse();
        """.encode()
    )


async def test_a_worker_that_cannot_write_ends_lets_its_jobs_go_until_it_can(
    make_app: MakeApp,
    database_url: str,
    start: Start,
    finished: Finished,
    connection: psycopg.Connection,
    actions: Any,
) -> None:
    """Its heartbeats would succeed for ever, and nothing that it does would ever end."""
    stuck_app, other_app = App(f"{database_url}&application_name=stuck"), make_app()
    stuck, other = Gated(stuck_app), Gated(other_app)
    other.gate.set()
    for app in (stuck_app, other_app):

        @app.task(name="noop")
        async def noop() -> None: ...

    refuse(connection, "stuck", "new.status = 'succeeded'")
    try:
        short = {"update_heartbeat_interval": 0.3, "stalled_worker_timeout": 1.5}
        worker = await start(stuck_app, concurrency=2, **short)
        held = await stuck.task.defer_async()
        ended = await stuck_app.tasks["noop"].defer_async()
        await until(lambda: stuck.begun == [held], "the job that runs")
        other_worker = await start(other_app, concurrency=2, **short)
        for job_id in (held, ended):
            job = await finished(job_id)
            assert job.status is JobStatus.SUCCEEDED
            assert job.worker_id != worker.id
        assert stuck.reasons == [AbortReason.OVERDUE]
        assert ("ERROR", "heartbeat_withheld") in actions()

        connection.execute("DROP TRIGGER refuse ON taskq_jobs")
        await until(lambda: ("WARNING", "worker_registered_again") in actions(), "its return")
        other_worker.stop()
        stuck.gate.set()
        job = await finished(await stuck.task.defer_async())
        assert (job.status, job.worker_id) == (JobStatus.SUCCEEDED, worker.id)
    finally:
        worker.stop()
        await until(lambda: actions().count(("INFO", "worker_stopped")) == 2, "its end")
        await stuck_app.close_async()


async def test_a_job_whose_row_another_session_holds_keeps_no_other_from_its_end(
    app: App, start: Start, finished: Finished, database_url: str, actions: Any
) -> None:
    """As an operator does who changed it, and left the transaction open; the worker is well meanwhile."""
    gated = Gated(app)
    jobs = await gated.task.batch_defer_async(*[{}] * 4)
    await start(app, concurrency=5, **SHORT)
    await until(lambda: len(gated.begun) == 4, "the jobs")
    with psycopg.connect(database_url.replace("+psycopg", "")) as operator:
        operator.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [jobs[1]])
        gated.gate.set()
        for job_id in (jobs[0], jobs[2], jobs[3]):
            assert (await finished(job_id)).status is JobStatus.SUCCEEDED
        # For as long as would tell of a worker that can write nothing.
        await asyncio.sleep(SHORT["stalled_worker_timeout"] + 1)
        gated.gate.clear()
        later = await gated.task.defer_async()
        await until(lambda: len(gated.begun) == 5, "another job")
        gated.gate.set()
        assert (await finished(later)).status is JobStatus.SUCCEEDED
        operator.rollback()
    assert (await finished(jobs[1])).status is JobStatus.SUCCEEDED
    assert len(gated.begun) == 5
    assert "heartbeat_withheld" not in {action for _, action in actions()}


async def test_jobs_of_claims_that_are_never_answered_go_back_while_claims_fail(
    app: App, start: Start, disturbed: Disturbed, actions: Any
) -> None:
    begun: list[float] = []

    @app.task
    async def note() -> None:
        begun.append(time.monotonic())

    failing = Failing()
    disturbed.after("claim_jobs", failing, times=1000)
    await start(app, abort_job_polling_interval=0.1, update_heartbeat_interval=0.3)
    job_id = await note.defer_async()

    async def claims() -> int:
        return (await app.job_manager.get_job_async(job_id)).claim

    deadline = time.monotonic() + 15
    while await claims() < 2:
        assert time.monotonic() < deadline, "the job was not given back"
        await asyncio.sleep(0.02)
    job = await app.job_manager.get_job_async(job_id)
    assert job.attempt == 1
    assert begun == []
    failing.ends = True


async def test_what_fails_for_too_long_is_an_error(
    app: App, start: Start, disturbed: Disturbed, caplog: pytest.LogCaptureFixture
) -> None:
    failing = Failing()
    disturbed.before("list_ready_queues", failing, times=1000)
    await start(app, update_heartbeat_interval=0.1, stalled_worker_timeout=0.6)

    def logged() -> list[str]:
        # So short a timeout others of its connections may miss on a slow machine.
        return [
            vars(record)["action"]
            for record in caplog.records
            if vars(record).get("purpose") == "claims"
        ]

    await until(lambda: "database_failing" in logged(), "the error")
    assert logged() == ["database_failed", "database_failing"]
    failing.ends = True


class Writing:
    """A task that writes in its transaction, the first time once its gate is open."""

    def __init__(self, app: App, is_async: bool) -> None:
        self.begun = 0
        self.gate = threading.Event()

        @app.task(name="writing", pass_context=True, retry=3)
        async def writing(context: JobContext) -> None:
            async with context.transaction() as connection:
                self.begun += 1
                await asyncio.to_thread(self.gate.wait)
                await connection.execute(text("INSERT INTO effects VALUES ('written')"))

        @app.task(name="writing in a thread", pass_context=True, retry=3)
        def writing_in_a_thread(context: JobContext) -> None:
            with context.transaction() as connection:
                self.begun += 1
                self.gate.wait()
                connection.execute(text("INSERT INTO effects VALUES ('written')"))

        self.task: Task[..., Any] = writing if is_async else writing_in_a_thread


@WAYS
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_task_sends_in_its_transaction_on_a_silent_connection_is_given_up(
    app: App,
    far_app: App,
    line: Line,
    start: Start,
    finished: Finished,
    effects: Effects,
    ways: Sequence[Way],
    is_async: bool,
) -> None:
    """However long its statements may take, which nothing bounds."""
    writing = Writing(far_app, is_async)
    await start(far_app, abort_job_polling_interval=0.3, **SHORT)
    job_id = await app.configure_task(writing.task.name).defer_async()
    await until(lambda: writing.begun == 1, "the job")
    line.die(ways=ways)
    writing.gate.set()
    job = await finished(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    assert effects() == ["written"]
    [(kind, _)] = await errors_of(app, job_id)
    assert kind.endswith(("OperationalError", "DatabaseUnavailable"))


@WAYS
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_transaction_takes_another_connection_if_that_of_the_pool_went_silent(
    app: App,
    far_app: App,
    line: Line,
    start: Start,
    finished: Finished,
    effects: Effects,
    ways: Sequence[Way],
    is_async: bool,
) -> None:
    writing = Writing(far_app, is_async)
    writing.gate.set()
    await start(far_app, abort_job_polling_interval=0.3, **SHORT)
    for _ in range(2):
        job_id = await app.configure_task(writing.task.name).defer_async()
        job = await finished(job_id)
        assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
        line.die(ways=ways)
    assert effects() == ["written"] * 2


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_statement_that_takes_long_is_not_given_up(
    app: App, start: Start, finished: Finished, effects: Effects, is_async: bool
) -> None:
    """Nor a task that does something else for as long."""

    @app.task(name="slow", pass_context=True)
    async def slow(context: JobContext) -> None:
        async with context.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(4)"))
            await asyncio.sleep(4)
            await connection.execute(text("INSERT INTO effects VALUES ('written')"))

    @app.task(name="slow in a thread", pass_context=True)
    def slow_in_a_thread(context: JobContext) -> None:
        with context.transaction() as connection:
            connection.execute(text("SELECT pg_sleep(4)"))
            time.sleep(4)
            connection.execute(text("INSERT INTO effects VALUES ('written')"))

    await start(app, **SHORT)
    task: Task[..., Any] = slow if is_async else slow_in_a_thread
    job = await finished(await task.defer_async())
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert effects() == ["written"]


async def test_a_job_that_a_lost_machine_was_about_to_commit_is_run_by_another_worker(
    app: App, start: Start, finished: Finished, connection: psycopg.Connection, database_url: str
) -> None:
    """Its session holds the row of the job; nothing more comes by it, which the server does not know."""
    gated = Gated(app)
    gated.gate.set()
    job_id = await gated.task.defer_async()
    connection.execute(
        "UPDATE taskq_jobs SET status = 'doing', claim = 1, worker_id = 1, started_at = now()"
    )
    lost = psycopg.connect(database_url.replace("+psycopg", ""))
    claimed = ClaimedJob(job_id=job_id, claim=1, worker_id=1)
    assert queries.job_commit.hold_job(bridge(lost), claimed, idle_for=1)
    await start(app, **SHORT)
    assert (await finished(job_id)).status is JobStatus.SUCCEEDED
    lost.close()
