"""What a worker makes of a job that ended by its own transaction: locks, slots, stopping, connections."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.ext.asyncio import AsyncConnection

from taskq import (
    AbortReason,
    App,
    InvalidTransaction,
    Job,
    JobContext,
    JobStatus,
    Task,
    Worker,
)
from taskq.outcome import Outcome
from taskq.worker.completer import Completer
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    MakeApp,
    Start,
    services_of,
    until,
)
from tests.worker.effects import Effects, Tasks, leave, leave_async

Actions = Callable[[], list[tuple[str, str]]]


@pytest.mark.parametrize("stored", [False, True])
async def test_what_follows_in_the_lock_begins_with_the_commit(
    app: App, start: Start, tasks: Tasks, effects: Effects, finished: Finished, stored: bool
) -> None:
    """Claimed together with it, in the same worker, while the task goes on."""
    order: list[str] = []

    @app.task
    async def next_one() -> None:
        order.append("next")

    def work(context: JobContext, connection: Connection) -> int:
        leave(connection, "paid")
        return 3

    async def go_on(
        call_next: Callable[[], Coroutine[Any, Any, Any]], context: JobContext, worker: Worker
    ) -> Any:
        result = await call_next()
        if context.job.task_name != next_one.name:
            await until(lambda: order)
            order.append("end")
        return result

    first = tasks.whole(work, store_result=stored)
    deferrers = [one.configure(lock="account") for one in (first, next_one)]
    ids = await app.job_manager.defer_jobs_async([one.prepare() for one in deferrers])
    await start(app, concurrency=2, prefetch=5, worker_middleware=go_on)
    for job_id in ids:
        assert job_id is not None
        assert (await finished(job_id)).status is JobStatus.SUCCEEDED
    await until(lambda: len(order) == 2)
    assert order == ["next", "end"]
    assert effects() == ["paid"]


async def test_another_worker_hears_of_the_lock_while_the_task_goes_on(
    make_app: MakeApp, start: Start, effects: Effects
) -> None:
    ours, theirs = make_app(), make_app()
    ran = asyncio.Event()

    @ours.task(name="first", queue="ours", pass_context=True)
    async def first(context: JobContext) -> None:
        async with context.transaction() as connection:
            await leave_async(connection, "first")
        await ran.wait()

    @theirs.task(name="second", queue="theirs")
    async def second() -> None:
        ran.set()

    await first.configure(lock="account").defer_async()
    await second.configure(lock="account").defer_async()
    polls = {"fetch_job_polling_interval": 60.0}
    await start(theirs, queues=["theirs"], **polls)
    await start(ours, queues=["ours"], **polls)
    async with asyncio.timeout(15):
        await ran.wait()
    assert effects() == ["first"]


async def test_a_worker_does_not_take_a_job_for_lost_that_ended_while_its_task_goes_on(
    app: App, start: Start, tasks: Tasks, effects: Effects, disturbed: Disturbed, actions: Actions
) -> None:
    seen: list[AbortReason | None] = []
    looked: list[int] = []
    disturbed.after("list_doing_jobs", lambda _: looked.append(1), times=1000)

    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    def go_on(context: JobContext) -> None:
        looked.clear()
        tasks.wait(lambda: len(looked) > 3)
        seen.append(context.abort_reason())

    await start(app, abort_job_polling_interval=0.02)
    await tasks.block(work, afterwards=go_on).defer_async()
    await until(lambda: seen)
    assert seen == [None]
    assert [action for _, action in actions() if action == "job_lost"] == []


@pytest.mark.parametrize("most", [1, 10])
async def test_no_more_transactions_are_open_at_once_than_may_be(
    app: App, drain: Drain, effects: Effects, most: int
) -> None:
    open_now, highest = [0, 0], [0, 0]

    def count(which: int, by: int) -> None:
        open_now[which] += by
        highest[which] = max(highest[which], open_now[which])

    @app.task(pass_context=True, transaction=True)
    def pay(context: JobContext) -> None:
        count(0, 1)
        leave(context.connection, "sync")
        count(0, -1)

    @app.task(pass_context=True, transaction=True)
    async def pay_async(context: JobContext) -> None:
        count(1, 1)
        await leave_async(context.connection, "async")
        await until(lambda: highest[1] == most)
        count(1, -1)

    await pay.batch_defer_async(*[{}] * 40)
    await pay_async.batch_defer_async(*[{}] * 40)
    await drain(app, concurrency=40, max_transactions=most)
    assert sorted(effects()) == ["async"] * 40 + ["sync"] * 40
    assert highest[0] <= most
    assert highest[1] == most


async def test_middleware_of_tasks_is_in_the_transaction_and_that_of_the_worker_around_it(
    app: App, drain: Drain, tasks: Tasks, effects: Effects
) -> None:
    def inside(call_next: Callable[[], Any], context: JobContext, worker: Worker) -> Any:
        leave(context.connection, "middleware")
        call_next()
        return 2

    async def inside_async(
        call_next: Callable[[], Coroutine[Any, Any, Any]], context: JobContext, worker: Worker
    ) -> Any:
        await leave_async(context.connection, "middleware")
        await call_next()
        return 2

    async def outside(
        call_next: Callable[[], Coroutine[Any, Any, Any]], context: JobContext, worker: Worker
    ) -> Any:
        await call_next()
        with pytest.raises(InvalidTransaction, match="is in no transaction"):
            context.connection  # noqa: B018
        return 3

    def work(context: JobContext, connection: Connection) -> int:
        leave(connection, "task")
        return 1

    task: Task[..., Any] = tasks.whole(work, store_result=True)
    job_id = await task.defer_async()
    await drain(app, task_middleware=[inside, inside_async], worker_middleware=outside)
    assert effects() == ["middleware", "task"]
    job: Job = await app.job_manager.get_job_async(job_id)
    assert job.result == 2


async def test_a_worker_that_stops_commits_what_is_under_way(
    app: App, start: Start, tasks: Tasks, effects: Effects, finished: Finished
) -> None:
    def work(context: JobContext, connection: Connection) -> None:
        worker.stop()
        leave(connection, "paid")

    worker = await start(app)
    job_id = await tasks.block(work).defer_async()
    assert (await finished(job_id)).status is JobStatus.SUCCEEDED
    assert effects() == ["paid"]


async def test_a_worker_that_leaves_gives_no_job_back_that_its_transaction_ended(
    app: App, start: Start, effects: Effects, actions: Actions
) -> None:
    reached = asyncio.Event()

    @app.task(pass_context=True)
    async def pay(context: JobContext) -> None:
        async with context.transaction() as connection:
            await leave_async(connection, "paid")
        reached.set()
        await asyncio.sleep(60)

    worker = await start(app)
    job_id = await pay.defer_async()
    await reached.wait()
    worker.stop()
    worker.stop()
    await until(lambda: ("INFO", "worker_stopped") in actions())
    assert await app.job_manager.get_job_status_async(job_id) is JobStatus.SUCCEEDED
    assert effects() == ["paid"]
    assert [action for _, action in actions() if action == "job_lost"] == []


@pytest.mark.parametrize("pooler", [False, True])
async def test_the_connection_is_one_of_the_apps_engine_with_nothing_set_on_its_session(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, database_url: str, pooler: bool
) -> None:
    seen: list[Any] = []

    def work(context: JobContext, connection: AsyncConnection | Connection) -> None:
        assert isinstance(connection, Connection)
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection | psycopg.AsyncConnection)
        seen.append((connection.get_isolation_level(), driver.prepare_threshold))
        leave(connection, "paid")

    task = tasks.whole(work)
    async with app.replace_database(database_url, pooler=pooler):
        await task.batch_defer_async({}, {})
        await drain(app, listen_notify=False)
    assert seen == [("READ COMMITTED", None if pooler else 5)] * 2
    assert effects() == ["paid"] * 2


async def test_the_end_of_the_job_before_it_in_its_lock_is_written_before(
    app: App, drain: Drain, tasks: Tasks, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else that one would be run again behind it, if the worker died now."""
    seen: list[JobStatus] = []

    @app.task
    async def before() -> None: ...

    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    def look(context: JobContext) -> None:
        seen.append(app.job_manager.get_job_status(first))

    write = Completer._write

    async def write_late(completer: Completer, batch: Sequence[Outcome]) -> bool:
        await asyncio.sleep(0.5)
        return await write(completer, batch)

    monkeypatch.setattr(Completer, "_write", write_late)
    task = tasks.block(work, afterwards=look)
    deferrers = [one.configure(lock="account") for one in (before, task)]
    first, _ = (id_ for id_ in app.job_manager.defer_jobs([d.prepare() for d in deferrers]) if id_)
    await drain(app, prefetch=5)
    assert seen == [JobStatus.SUCCEEDED]
    assert effects() == ["paid"]


# Nothing but what ended opens the lock, and wakes anyone.
ALONE = {
    "fetch_job_polling_interval": 3600.0,
    "update_heartbeat_interval": 3600.0,
    "stalled_worker_timeout": 7200.0,
}


async def test_a_job_that_goes_back_while_the_one_before_it_is_committed_is_not_forgotten(
    app: App,
    start: Start,
    tasks: Tasks,
    effects: Effects,
    finished: Finished,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both transactions leave it to the other to open the lock: neither sees what the other does."""
    commit = RootTransaction.commit

    @app.task(queue="behind")
    async def behind() -> None: ...

    def work(context: JobContext, connection: Connection) -> None:
        leave(connection, "paid")

    def goes_back() -> bool:
        return app.job_manager.get_job_status(second) is JobStatus.TODO

    def wait_and_commit(transaction: RootTransaction) -> None:
        # What it has not begun, it gives back.
        loop.call_soon_threadsafe(services_of(worker).executor_pool.pause_queue, behind.queue)
        tasks.wait(goes_back)
        monkeypatch.setattr(RootTransaction, "commit", commit)
        commit(transaction)

    deferrers = [one.configure(lock="account") for one in (tasks.block(work), behind)]
    first, second = (
        id_ for id_ in app.job_manager.defer_jobs([d.prepare() for d in deferrers]) if id_
    )
    monkeypatch.setattr(RootTransaction, "commit", wait_and_commit)
    loop = asyncio.get_running_loop()
    worker = await start(app, prefetch=5, queues=["default", "behind"], **ALONE)
    assert (await finished(first)).status is JobStatus.SUCCEEDED
    job = await finished(second)
    assert (job.status, job.claim) == (JobStatus.SUCCEEDED, 2)
