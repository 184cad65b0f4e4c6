"""A COMMIT whose answer is lost: the database decides what became of the job."""

import asyncio
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import OperationalError

from taskq import App, JobContext, JobStatus
from tests.worker.conftest import (
    Drain,
    Line,
    MakeApp,
    Start,
    cut_off,
    errors_of,
    services_of,
    until,
)
from tests.worker.effects import Effects, Tasks, leave

pytestmark = pytest.mark.slow

Lose = Callable[[Connection, Callable[[], None]], None]


def after(connection: Connection, commit: Callable[[], None]) -> None:
    """The server has committed, and goes before it says so."""
    driver: Any = connection.connection.driver_connection
    commit()
    driver.pgconn.finish()
    raise OperationalError("COMMIT", None, psycopg.OperationalError("the connection is lost"))


def before(connection: Connection, commit: Callable[[], None]) -> None:
    """The server goes before it has committed."""
    cut_off(connection)


@pytest.fixture
def losing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Lose], None]:
    """Has the next commit's answer lost."""
    commit = RootTransaction.commit

    def lose_next(lose: Lose) -> None:
        left = [lose]

        def lost(transaction: RootTransaction) -> None:
            if left:
                left.pop()(transaction.connection, lambda: commit(transaction))
            commit(transaction)

        monkeypatch.setattr(RootTransaction, "commit", lost)

    return lose_next


@pytest.mark.parametrize("deleted", [False, True])
@pytest.mark.parametrize("kind", ["block", "whole"])
async def test_what_was_committed_is_not_run_again(
    app: App,
    drain: Drain,
    tasks: Tasks,
    effects: Effects,
    losing: Callable[[Lose], None],
    kind: str,
    deleted: bool,
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    losing(after)
    job_id = await tasks.of(kind, work, retry=3).defer_async()
    await drain(app, delete_jobs="successful" if deleted else "never")
    assert effects() == ["paid"]
    if deleted:
        assert await app.job_manager.count_jobs_async() == {}
    else:
        job = await app.job_manager.get_job_async(job_id)
        assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
        assert await errors_of(app, job_id) == []


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_was_not_committed_is_a_failed_attempt(
    app: App,
    drain: Drain,
    tasks: Tasks,
    effects: Effects,
    losing: Callable[[Lose], None],
    deleted: bool,
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, f"attempt {context.job.attempt}")

    losing(before)
    await tasks.block(work, retry=3).defer_async()
    await drain(app, delete_jobs="successful" if deleted else "never")
    assert effects() == ["attempt 2"]


async def test_what_the_database_says_of_it_is_told(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, losing: Callable[[Lose], None]
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    losing(before)
    job_id = await tasks.block(work).defer_async()
    await drain(app)
    [(kind, message)] = await errors_of(app, job_id)
    assert kind == "taskq.exceptions.DatabaseUnavailable"
    assert "the database has rolled it back" in message
    assert effects() == []


# So that a connection that says nothing is given up after 1.5 s.
SHORT = {"stalled_worker_timeout": 3.0, "update_heartbeat_interval": 0.5}


@pytest.mark.parametrize("arrives", [True, False], ids=["answer lost", "commit lost"])
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_a_line_that_goes_dead_in_the_commit_leaves_it_to_the_database(
    far_app: App,
    make_app: MakeApp,
    start: Start,
    line: Line,
    effects: Effects,
    losing: Callable[[Lose], None],
    arrives: bool,
    is_async: bool,
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, f"attempt {context.job.attempt}")

    def dies(_: Connection, commit: Callable[[], None]) -> None:
        # The session at the server, which holds the row, lives on.
        line.die(ways=("back",) if arrives else ("to server", "back"))
        commit()

    losing(dies)
    task = Tasks(far_app, is_async).block(work, retry=3)
    worker = await start(far_app, **SHORT)
    job_id = await task.defer_async()
    near = make_app()
    status = JobStatus.TODO
    while status is not JobStatus.SUCCEEDED:
        status = await near.job_manager.get_job_status_async(job_id)
        await asyncio.sleep(0.05)
    assert effects() == ["attempt 1" if arrives else "attempt 2"]
    await until(lambda: services_of(worker).executor_pool.is_empty)
