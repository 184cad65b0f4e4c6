"""The transaction of a task: its effects and the end of its job, together or not at all."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from taskq import (
    AbortReason,
    App,
    JobAborted,
    JobContext,
    JobLost,
    JobStatus,
    Retry,
    Snooze,
)
from taskq.exceptions import InvalidResult
from taskq.telemetry import Event, JobEnded, JobFailedAfterCommit, OutcomesWritten
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    Start,
    cut_off,
    errors_of,
    until,
)
from tests.worker.effects import Effects, Tasks, leave, leave_async

Actions = Callable[[], list[tuple[str, str]]]


async def test_effects_jobs_and_the_end_come_with_one_commit(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, connection: psycopg.Connection
) -> None:
    seen: list[Any] = []
    worked: list[datetime] = []

    @app.task
    async def receipt(order: int) -> None:
        seen.append(order)

    def look(context: JobContext) -> None:
        row = connection.execute(
            "SELECT status, finished_at IS NULL, (SELECT count(*) FROM taskq_jobs WHERE status = 'todo') "
            "FROM taskq_jobs WHERE id = %s",
            [context.job.id],
        ).fetchone()
        seen.append((row, effects()))

    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        worked.append(connection.execute(text("SELECT clock_timestamp()")).scalar_one())
        receipt.configure(connection=connection).defer(order=7)
        look(context)

    job_id = await tasks.block(work, afterwards=look).defer_async()
    await drain(app)
    before, after = ("doing", True, 0), ("succeeded", False, 1)
    assert seen == [(before, []), (after, ["paid"]), 7]
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.attempt, job.result) == (JobStatus.SUCCEEDED, 1, None)
    # And not when the transaction began.
    assert job.finished_at is not None
    assert job.finished_at > worked[0]


async def test_the_whole_attempt_with_its_result_is_one_commit(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, disturbed: Disturbed
) -> None:
    def work(context: JobContext, connection: Connection) -> dict[str, int]:
        leave(connection, "paid")
        return {"paid": context.job.id}

    disturbed.count("finish_jobs")
    task = tasks.whole(work, store_result=True)
    job_id = await task.defer_async()
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)
    assert effects() == ["paid"]
    assert task.result(job) == {"paid": job_id}
    # By the transaction, and not by the completer as well.
    assert disturbed.calls["finish_jobs"] == 1


@pytest.mark.parametrize("kind", ["block", "whole"])
async def test_what_is_raised_inside_rolls_back_and_is_retried(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, kind: str
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, f"attempt {context.job.attempt}")
        match context.job.claim:
            case 1:
                raise ValueError("first")
            case 2:
                raise Retry(message="second")
            case 3:
                raise Snooze(timedelta(0))

    job_id = await tasks.of(kind, work, retry=1).defer_async()
    await drain(app)
    assert effects() == ["attempt 3"]
    assert [error for _, error in await errors_of(app, job_id)] == ["first", "second"]
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED


async def test_a_task_that_aborts_in_its_transaction_is_aborted(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "half")
        raise JobAborted("enough")

    job_id = await tasks.block(work, retry=5).defer_async()
    await drain(app)
    assert effects() == []
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.ABORTED


async def test_after_the_commit_the_job_has_succeeded_whatever_the_task_raises(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, actions: Actions
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    def fail(context: JobContext) -> None:
        raise Retry(message="the mail server is away")

    told: list[Event] = []
    app.telemetry.subscribe(JobFailedAfterCommit, told.append)
    app.telemetry.subscribe(JobEnded, told.append)
    app.telemetry.subscribe(OutcomesWritten, told.append)
    job_id = await tasks.block(work, retry=3, afterwards=fail).defer_async()
    await drain(app)
    assert effects() == ["paid"]
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert await errors_of(app, job_id) == []
    kinds = [type(event).__name__ for event in told]
    assert kinds == ["OutcomesWritten", "JobFailedAfterCommit", "JobSucceeded"]
    assert ("ERROR", "job_failed_after_commit") in actions()
    assert ("INFO", "job_succeeded") in actions()


def taken(connection: psycopg.Connection, job_id: int) -> None:
    """The job is rescued from its worker, and another one claims it."""
    connection.execute(
        "UPDATE taskq_jobs SET claim = claim + 1, worker_id = 12345 WHERE id = %s", [job_id]
    )


@pytest.mark.parametrize("moment", ["before", "within"])
@pytest.mark.parametrize("caught", [True, False])
async def test_a_job_that_is_another_workers_by_now_is_rolled_back(
    app: App,
    start: Start,
    tasks: Tasks,
    effects: Effects,
    connection: psycopg.Connection,
    actions: Actions,
    moment: str,
    caught: bool,
) -> None:
    raised: list[BaseException] = []
    told: list[JobEnded] = []
    app.telemetry.subscribe(JobEnded, told.append)

    def before(context: JobContext) -> None:
        if moment == "before":
            taken(connection, context.job.id)

    def work(context: JobContext, on: Connection) -> None:
        leave(on, "paid")
        taken(connection, context.job.id)

    def note(error: BaseException) -> bool:
        raised.append(error)
        return caught

    await start(app)
    job_id = await tasks.block(work, retry=3, before=before, caught=note).defer_async()
    await until(lambda: told)
    assert effects() == []
    [lost] = raised
    assert isinstance(lost, JobLost)
    assert "is not this worker's any more" in str(lost)
    assert [event.ending for event in told] == ["lost"]
    assert actions().count(("WARNING", "job_lost")) == 1
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.claim, job.worker_id) == (JobStatus.DOING, 2, 12345)


async def test_a_job_that_is_to_be_aborted_is_rolled_back_at_the_end(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        # Which does not wait: the row is not held while the task works.
        assert app.job_manager.cancel_job_by_id(context.job.id, abort=True)

    raised: list[BaseException | None] = []
    task = tasks.whole(work, retry=3)
    job_id = await task.defer_async()
    app.telemetry.subscribe(JobEnded, lambda event: raised.append(event.error))
    # It is not notified, so that the database alone knows.
    await drain(app, listen_notify=False)
    assert effects() == []
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.ABORTED
    assert ["is to be aborted" in str(error) for error in raised] == [True]


async def test_a_task_that_is_cancelled_in_its_transaction_is_rolled_back(
    app: App, start: Start, effects: Effects, finished: Finished
) -> None:
    begun = asyncio.Event()

    @app.task(pass_context=True, transaction=True)
    async def wait(context: JobContext) -> None:
        await leave_async(context.connection, "paid")
        begun.set()
        await asyncio.sleep(60)

    await start(app)
    job_id = await wait.defer_async()
    await begun.wait()
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED
    assert effects() == []
    assert app.database.async_engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_sync_task_that_was_aborted_for_another_reason_is_committed(
    app: App, drain: Drain, effects: Effects
) -> None:
    reasons: list[AbortReason | None] = []
    tasks = Tasks(app, is_async=False)

    def slow(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        tasks.wait(context.should_abort)
        reasons.append(context.abort_reason())

    job_id = await tasks.whole(slow, timeout=0.2).defer_async()
    await drain(app)
    assert reasons == [AbortReason.TIMEOUT]
    assert effects() == ["paid"]
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED


async def test_a_result_that_cannot_be_stored_rolls_back_and_fails_for_good(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> Any:
        leave(connection, "paid")
        return object()

    job_id = await tasks.whole(work, store_result=True, retry=3).defer_async()
    await drain(app)
    assert effects() == []
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    [(kind, message)] = await errors_of(app, job_id)
    assert kind == f"{InvalidResult.__module__}.InvalidResult"
    assert "the result" in message


async def test_an_end_that_the_database_refuses_rolls_back_and_fails_for_good(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, connection: psycopg.Connection
) -> None:
    connection.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'no results here'; END $$"
    )
    connection.execute(
        "CREATE TRIGGER refuse BEFORE UPDATE ON taskq_jobs FOR EACH ROW "
        "WHEN (new.result IS NOT NULL) EXECUTE FUNCTION refuse()"
    )

    def work(context: JobContext, connection: Connection) -> int:
        leave(connection, "paid")
        return 3

    job_id = await tasks.whole(work, store_result=True, retry=3).defer_async()
    await drain(app)
    assert effects() == []
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.FAILED
    [(_, message)] = await errors_of(app, job_id)
    assert "could not be written: " in message
    assert "no results here" in message


async def test_a_job_that_is_deleted_when_it_succeeds_goes_with_the_commit(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    def look(context: JobContext) -> None:
        assert app.job_manager.count_jobs() == {}

    await tasks.block(work, afterwards=look).defer_async()
    await drain(app, delete_jobs="successful")
    assert effects() == ["paid"]
    assert await app.job_manager.count_jobs_async() == {}


async def test_the_loss_of_the_connection_is_a_failed_attempt(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, f"attempt {context.job.attempt}")
        if context.job.attempt == 1:
            cut_off(connection)

    job_id = await tasks.whole(work, retry=1).defer_async()
    await drain(app)
    assert effects() == ["attempt 2"]
    assert len(await errors_of(app, job_id)) == 1


async def test_a_constraint_that_waits_for_the_commit_fails_the_attempt(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, connection: psycopg.Connection
) -> None:
    connection.execute("ALTER TABLE effects ADD UNIQUE (name) DEFERRABLE INITIALLY DEFERRED")

    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")
        if context.job.attempt == 1:
            leave(connection, "paid")

    job_id = await tasks.whole(work, retry=1).defer_async()
    await drain(app)
    assert effects() == ["paid"]
    [(kind, _)] = await errors_of(app, job_id)
    assert kind == "sqlalchemy.exc.IntegrityError"


async def test_savepoints_undo_a_part(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "one")
        try:
            with connection.begin_nested():
                leave(connection, "two")
                raise ValueError
        except ValueError:
            leave(connection, "three")
        connection.begin_nested()  # left open: it is part of the commit
        leave(connection, "four")

    await tasks.block(work).defer_async()
    await drain(app)
    assert effects() == ["one", "three", "four"]


async def test_sessions_and_psycopg_connections_take_part(
    app: App, drain: Drain, effects: Effects
) -> None:
    @app.task
    async def receipt(on: str) -> None: ...

    @app.task(pass_context=True)
    def pay(context: JobContext) -> None:
        with context.transaction() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, psycopg.Connection)
            # A block of psycopg's own, before anything else, is a savepoint.
            with driver.transaction():
                driver.execute("INSERT INTO effects VALUES ('sync')")
            with Session(connection) as session:
                leave(session.connection(), "session")
                session.commit()
                receipt.configure(connection=session).defer(on="session")
            receipt.configure(connection=driver).defer(on="psycopg")
            assert "sync" not in effects()

    @app.task(pass_context=True)
    async def pay_async(context: JobContext) -> None:
        async with context.transaction() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, psycopg.AsyncConnection)
            async with driver.transaction():
                await driver.execute("INSERT INTO effects VALUES ('async')")
            async with AsyncSession(connection) as session:
                await leave_async(await session.connection(), "session")
                await session.commit()
                await receipt.configure(connection=session).defer_async(on="session")
            await receipt.configure(connection=driver).defer_async(on="psycopg")
            assert "async" not in effects()

    await pay.defer_async()
    await pay_async.defer_async()
    await drain(app)
    assert effects() == ["sync", "session", "async", "session"]
    counts = await app.job_manager.count_jobs_async()
    assert {status for (_, _, status) in counts} == {JobStatus.SUCCEEDED}
    assert sum(counts.values()) == 6
