"""Limits as workers keep them: what runs at once, what starts in a time, and how soon the next one starts.

No worker here polls within the time of a test, unless it can do nothing else.
"""

import asyncio
import logging
import time
from datetime import timedelta

import pytest

from taskq import App, Limit
from taskq.job import JobStatus
from tests.worker.conftest import Drain, Finished, MakeApp, Start, idle, services_of, until

NEVER = 60.0  # seconds


class Room:
    """A task of which each job runs until it is let go, and how many of them ran at once."""

    def __init__(self, app: App, limit: Limit | None = None) -> None:
        self.began: list[int] = []
        self.times: list[float] = []
        self.running = 0
        self.most = 0
        self.go_on = asyncio.Event()

        @app.task(name="room", limit=limit)
        async def room(number: int) -> None:
            self.began.append(number)
            self.times.append(time.monotonic())
            self.running += 1
            self.most = max(self.most, self.running)
            await self.go_on.wait()
            self.running -= 1

        self.task = room

    async def fills(self, jobs: int) -> None:
        """Wait until so many run."""
        await until(lambda: self.running == jobs, f"{jobs} that run")


async def test_no_more_run_than_the_limit_says_however_many_workers_there_are(
    app: App, make_app: MakeApp, start: Start, finished: Finished
) -> None:
    room, other = Room(app, Limit("two", concurrency=2)), make_app()
    other.add_task_alias(room.task, "other")
    other.tasks["room"] = room.task
    workers = [
        await start(each, concurrency=10, fetch_job_polling_interval=NEVER) for each in (app, other)
    ]
    ids = await room.task.batch_defer_async(*({"number": n} for n in range(20)))
    await room.fills(2)
    for worker in workers:
        services = services_of(worker)
        await until(lambda: not services.producer.is_pending, "nothing more to claim")  # noqa: B023
    room.go_on.set()
    await asyncio.gather(*map(finished, ids))
    assert room.most == 2
    assert sorted(room.began) == list(range(20))


async def test_the_next_job_starts_within_100_ms_of_there_being_room_in_any_worker(
    app: App, make_app: MakeApp, start: Start
) -> None:
    limit = Limit("one", concurrency=1)
    room = Room(app, limit)
    next_ = Room(other := make_app(), None)
    running = room.task.configure(queue="a")
    waiting = next_.task.configure(queue="b", limit=limit)
    other.limits.add(limit)
    await start(app, queues=["a"], fetch_job_polling_interval=NEVER)
    await start(other, queues=["b"], fetch_job_polling_interval=NEVER)
    took: list[float] = []
    for number in range(5):
        room.go_on.clear()
        next_.go_on.clear()
        await running.defer_async(number=number)
        await room.fills(1)
        await waiting.defer_async(number=number)
        began = time.monotonic()
        room.go_on.set()
        await next_.fills(1)
        took.append(time.monotonic() - began)
        next_.go_on.set()
        await until(lambda: next_.running == 0)
    assert min(took) < 0.1


async def test_a_worker_that_only_polls_takes_the_next_job_of_a_limit_at_the_end_of_one(
    app: App, start: Start, finished: Finished
) -> None:
    room = Room(app, Limit("one", concurrency=1))
    room.go_on.set()
    ids = await room.task.batch_defer_async(*({"number": n} for n in range(10)))
    await start(app, listen_notify=False, fetch_job_polling_interval=NEVER)
    async with asyncio.timeout(10):
        await asyncio.gather(*map(finished, ids))
    assert (room.began, room.most) == (list(range(10)), 1)


async def test_jobs_of_a_rate_start_by_a_timer_and_no_window_has_more_of_them(
    app: App, start: Start, finished: Finished
) -> None:
    room = Room(app, Limit("rate", rate=10, per=timedelta(seconds=0.5)))
    room.go_on.set()
    await start(app, concurrency=10, fetch_job_polling_interval=NEVER)
    ids = await room.task.batch_defer_async(*({"number": n} for n in range(15)))
    async with asyncio.timeout(10):
        jobs = await asyncio.gather(*map(finished, ids))
    starts = sorted(job.started_at for job in jobs if job.started_at is not None)
    assert starts[10] - starts[0] >= timedelta(seconds=0.5)
    assert starts[14] - starts[4] >= timedelta(seconds=0.5)
    assert room.began == list(range(15))


async def test_more_room_is_used_at_once_and_with_less_what_runs_goes_on(
    app: App, start: Start, finished: Finished
) -> None:
    room = Room(app, Limit("some", concurrency=1))
    await start(app, concurrency=10, fetch_job_polling_interval=NEVER)
    ids = await room.task.batch_defer_async(*({"number": n} for n in range(8)))
    await room.fills(1)
    began = time.monotonic()
    await app.job_manager.set_limit_async("some", concurrency=4)
    await room.fills(4)
    assert time.monotonic() - began < 1
    await app.job_manager.set_limit_async("some", concurrency=1)
    [state] = [s for s in await app.job_manager.list_limits_async() if s.name == "some"]
    assert (state.running, state.room, state.by_operator) == (4, 0, True)
    assert await app.job_manager.unset_limit_async("some")
    room.go_on.set()
    await asyncio.gather(*map(finished, ids))
    assert room.most == 4


async def test_a_limit_of_a_queue_holds_for_all_jobs_of_it(
    database_url: str, start: Start, finished: Finished
) -> None:
    app = App(database_url, queue_limits={"pay": Limit("stripe", concurrency=2)})
    room = Room(app)
    pay = room.task.configure(queue="pay")
    await start(app, concurrency=10, fetch_job_polling_interval=NEVER)
    ids = [await pay.defer_async(number=n) for n in range(6)]
    other = await room.task.defer_async(number=9)
    await room.fills(3)
    room.go_on.set()
    await asyncio.gather(*map(finished, [*ids, other]))
    assert room.most == 3
    await app.close_async()


async def test_what_a_running_worker_learns_of_a_limit_it_declares(
    app: App, start: Start, finished: Finished
) -> None:
    room = Room(app)
    room.go_on.set()
    await start(app, fetch_job_polling_interval=NEVER, update_heartbeat_interval=0.1)
    limited = room.task.configure(limit=Limit("late", concurrency=1))
    assert (await finished(await limited.defer_async(number=1))).status is JobStatus.SUCCEEDED


async def test_two_apps_that_say_different_things_of_a_limit_are_named_in_the_log(
    app: App, make_app: MakeApp, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    Room(app, Limit("tenant", concurrency=2))
    Room(other := make_app(), Limit("tenant", concurrency=5))
    await start(app, name="one")
    with caplog.at_level(logging.WARNING, "taskq.worker.limit_declarer"):
        await start(other, name="two")
    [record] = [record for record in caplog.records if record.__dict__["action"] == "limit_changed"]
    assert record.getMessage() == (
        "limit 'tenant' is declared with 5 at once, and was with 2 at once by worker 'one': what was "
        "declared last holds for all workers"
    )


async def test_what_a_worker_gives_back_when_it_stops_makes_room_and_gives_its_start_back(
    app: App, start: Start, drain: Drain, finished: Finished
) -> None:
    room = Room(app, Limit("rate", rate=3, per=timedelta(hours=1), burst=3, concurrency=3))
    ids = await room.task.batch_defer_async(*({"number": n} for n in range(3)))
    worker = await start(app, concurrency=1, prefetch=10, fetch_job_polling_interval=NEVER)
    await until(lambda: len(services_of(worker).executor_pool._ready) == 2, "a prefetch")
    worker.stop()
    room.go_on.set()
    await finished(ids[0])
    await until(lambda: worker._services is None or services_of(worker).executor_pool.is_empty)
    await start(app, concurrency=1, fetch_job_polling_interval=NEVER)
    await asyncio.gather(*map(finished, ids))


async def test_while_a_task_is_paused_its_jobs_wait_and_others_run(
    app: App, start: Start, finished: Finished
) -> None:
    room = Room(app)

    @app.task(name="other")
    async def other() -> None: ...

    first, *rest = await room.task.batch_defer_async(*({"number": n} for n in range(4)))
    worker = await start(app, concurrency=1, prefetch=10, fetch_job_polling_interval=NEVER)
    await until(lambda: len(services_of(worker).executor_pool._ready) == 3, "a prefetch")
    began = time.monotonic()
    assert await app.job_manager.pause_task_async("room", by="ada", reason="why not")
    await until(lambda: not services_of(worker).executor_pool._ready, "an empty prefetch")
    assert time.monotonic() - began < 0.1
    room.go_on.set()
    await finished(first)
    assert (await finished(await other.defer_async())).status is JobStatus.SUCCEEDED
    await idle(worker)
    assert room.began == [0]
    assert await app.job_manager.resume_task_async("room")
    await asyncio.gather(*map(finished, rest))
    assert room.began == [0, 1, 2, 3]
