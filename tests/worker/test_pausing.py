"""While a queue is paused no job of it begins, and those that run finish."""

import asyncio
import time

import psycopg
from sqlalchemy.util import await_only

from taskq import App
from taskq.job import JobStatus
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    Start,
    idle,
    services_of,
    statuses,
    until,
)


class Gate:
    """Tasks that run until they are let go, in the order in which they began."""

    def __init__(self, app: App) -> None:
        self.began: list[str] = []
        self.opened = asyncio.Event()

        @app.task(name="wait", queue="mail")
        async def wait(name: str) -> None:
            self.began.append(name)
            await self.opened.wait()

        self.task = wait


async def given_back(app: App, ids: list[int]) -> None:
    """Wait until jobs that were claimed are in their queue again."""
    async with asyncio.timeout(10):
        while True:
            jobs = await app.job_manager.list_jobs_async(ids=ids)
            if all(job.status is JobStatus.TODO and job.claim == 1 for job in jobs):
                return
            await asyncio.sleep(0.005)


async def test_what_runs_finishes_and_what_was_prefetched_goes_back_and_does_not_begin(
    app: App, start: Start, finished: Finished
) -> None:
    gate = Gate(app)
    first, *others = await gate.task.batch_defer_async(*({"name": str(n)} for n in range(5)))
    worker = await start(app, concurrency=1, prefetch=10, fetch_job_polling_interval=60)
    await until(lambda: len(services_of(worker).executor_pool._ready) == 4, "a prefetch")
    began = time.monotonic()
    assert await app.job_manager.pause_queue_async("mail")
    await until(lambda: not services_of(worker).executor_pool._ready, "an empty prefetch")
    assert time.monotonic() - began < 0.1
    gate.opened.set()
    assert (await finished(first)).status is JobStatus.SUCCEEDED
    await given_back(app, others)
    await idle(worker)
    assert gate.began == ["0"]
    assert [job.attempt for job in await app.job_manager.list_jobs_async(ids=others)] == [0] * 4

    assert await app.job_manager.resume_queue_async("mail")
    await asyncio.gather(*map(finished, others))
    assert gate.began == list("01234")


async def test_what_a_claim_brings_that_did_not_see_the_pause_goes_back(
    app: App, start: Start, disturbed: Disturbed, finished: Finished
) -> None:
    gate = Gate(app)
    gate.opened.set()
    worker = await start(app, concurrency=5, prefetch=10, fetch_job_polling_interval=60)
    await idle(worker)

    async def pause() -> None:
        await app.job_manager.pause_queue_async("mail")
        await until(lambda: services_of(worker).executor_pool._paused_meanwhile, "a notification")

    disturbed.after("claim_jobs", lambda _: await_only(pause()), only_if=bool)
    locked = gate.task.configure(lock="a")
    ids = [
        await gate.task.configure(queue="other").defer_async(name="other"),
        *await locked.batch_defer_async({"name": "0"}, {"name": "1"}),
    ]
    await finished(ids[0])
    await idle(worker)
    assert gate.began == ["other"]
    await app.job_manager.resume_queue_async("mail")
    await asyncio.gather(*map(finished, ids))
    assert gate.began == ["other", "0", "1"]


async def test_in_a_lock_what_follows_a_job_of_a_paused_queue_waits_with_it(
    app: App, start: Start, finished: Finished
) -> None:
    gate = Gate(app)
    ids = [
        await gate.task.configure(lock="a", queue=queue).defer_async(name=name)
        for name, queue in [("0", "default"), ("1", "default"), ("2", "mail"), ("3", "default")]
    ]
    worker = await start(
        app,
        queues=["default", "mail"],
        concurrency=1,
        prefetch=10,
        fetch_job_polling_interval=60,
    )
    await until(lambda: len(services_of(worker).executor_pool._runs) == 3, "four jobs of a lock")
    await app.job_manager.pause_queue_async("mail")
    await until(
        lambda: len(services_of(worker).executor_pool._runs) == 1, "two that were given back"
    )
    gate.opened.set()
    await finished(ids[1])
    await given_back(app, ids[2:])
    await idle(worker)
    assert gate.began == ["0", "1"]
    await app.job_manager.resume_queue_async("mail")
    await asyncio.gather(*map(finished, ids))
    assert gate.began == ["0", "1", "2", "3"]


async def test_a_worker_that_missed_the_notification_obeys_when_it_listens_again(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    gate = Gate(app)
    await gate.task.batch_defer_async({"name": "0"}, {"name": "1"})
    worker = await start(app, concurrency=1, prefetch=10, fetch_job_polling_interval=60)
    await until(lambda: services_of(worker).executor_pool._ready, "a prefetch")
    connection.execute("INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'mail')")
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND query ~ 'taskq_listen' "
        "AND pid <> pg_backend_pid()"
    )
    await until(lambda: not services_of(worker).executor_pool._ready, "an empty prefetch")
    gate.opened.set()


async def test_a_worker_that_does_not_wait_leaves_a_paused_queue(app: App, drain: Drain) -> None:
    gate = Gate(app)
    gate.opened.set()
    await gate.task.defer_async(name="0")
    await app.job_manager.pause_queue_async("mail")
    await drain(app)
    assert await statuses(app) == {JobStatus.TODO: 1}


async def test_an_idle_worker_does_not_claim_from_a_paused_queue_again_and_again(
    app: App, start: Start, disturbed: Disturbed
) -> None:
    gate = Gate(app)
    await app.job_manager.pause_queue_async("mail")
    await gate.task.configure(lock="a").defer_async(name="0")
    await gate.task.defer_async(name="1")
    worker = await start(app, queues=["mail"], fetch_job_polling_interval=60)
    await idle(worker)
    disturbed.count("claim_jobs")
    await gate.task.defer_async(name="2")
    await until(lambda: disturbed.calls["claim_jobs"], "a claim")
    await until(
        lambda: services_of(worker).producer._timing._check_at is None, "nothing to do but to poll"
    )
    await idle(worker)
    # A check that found the queue ready would lead to another one. How many checks there are depends on how
    # long other transactions of the server stay open, those of other tests too.
    assert disturbed.calls["claim_jobs"] == 1
