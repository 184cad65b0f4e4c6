"""Jobs of one lock run one at a time, in order, and the next one starts when the lock goes free."""

import asyncio
import time
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext, RetryStrategy
from taskq.job import Job, JobStatus
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    MakeApp,
    Start,
    delayed,
    services_of,
    statuses,
    until,
)


class Witness:
    """A task that sees when it runs, and beside what."""

    def __init__(self, app: App, seconds: float = 0.1) -> None:
        self.order: list[str] = []
        self.running = 0
        self.most = 0
        self.ended = 0.0

        @app.task(name="witness")
        async def witness(name: str) -> None:
            self.order.append(name)
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(seconds)
            self.running -= 1
            self.ended = time.monotonic()

        self.task = witness
        self.locked = witness.configure(lock="a lock")


@pytest.mark.case(1)
async def test_the_next_job_of_a_lock_starts_when_it_goes_free(app: App, start: Start) -> None:
    """Case 1: three jobs of one lock, 0.1 s each, concurrency 2: done in under 0.6 s."""
    witness = Witness(app)
    await start(app, concurrency=2, fetch_job_polling_interval=5)
    began = time.monotonic()
    await witness.locked.batch_defer_async({"name": "a"}, {"name": "b"}, {"name": "c"})
    await until(lambda: len(witness.order) == 3 and not witness.running, "three jobs")
    assert witness.ended - began < 0.6
    assert (witness.order, witness.most) == (["a", "b", "c"], 1)


async def test_what_one_claim_brings_runs_by_priority_and_defer_order(
    app: App, drain: Drain, disturbed: Disturbed
) -> None:
    witness = Witness(app, seconds=0)
    for name, priority in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0)]:
        await witness.task.configure(priority=priority).defer_async(name=name)
    brought: list[int] = []

    def look(jobs: list[Job]) -> bool:
        brought.append(len(jobs))
        return False

    disturbed.after("claim_jobs", lambda _: None, only_if=look)
    await drain(app, concurrency=1, prefetch=10)
    assert witness.order == ["b", "d", "a", "e", "c"]
    assert brought[0] == 5


async def test_jobs_of_a_lock_that_come_in_one_claim_run_one_after_the_other(
    app: App, drain: Drain, disturbed: Disturbed
) -> None:
    running: dict[str, int] = {"x": 0, "y": 0}
    order: dict[str, list[int]] = {"x": [], "y": []}

    @app.task
    async def step(lock: str, number: int) -> None:
        running[lock] += 1
        order[lock].append(number)
        assert running[lock] == 1, "alone with its lock"
        await asyncio.sleep(0.01)
        running[lock] -= 1

    for number in range(5):
        for lock in order:
            deferrer = step.configure(lock=lock, priority=1 if number == 3 else 0)
            await deferrer.defer_async(lock=lock, number=number)
    together: list[list[str]] = []

    def look(jobs: list[Job]) -> bool:
        together.append([job.lock for job in jobs if job.lock is not None])
        return False

    disturbed.after("claim_jobs", lambda _: None, only_if=look)
    await drain(app, concurrency=10, prefetch=10)
    assert order == {"x": [3, 0, 1, 2, 4], "y": [3, 0, 1, 2, 4]}
    assert sorted(together[0]) == ["x"] * 5 + ["y"] * 5
    assert await statuses(app) == {JobStatus.SUCCEEDED: 10}


@pytest.mark.case(1)
@pytest.mark.parametrize("queues", [None, ["default"]])
async def test_a_worker_that_does_not_wait_does_not_leave_jobs_of_a_lock(
    app: App, drain: Drain, disturbed: Disturbed, queues: list[str] | None
) -> None:
    """Case 1: with ``wait=False`` all three are done before it ends, and it ends then."""
    witness = Witness(app)
    await witness.locked.batch_defer_async({"name": "a"}, {"name": "b"}, {"name": "c"})
    # The last thing that it does, which must not make it wait for a poll.
    disturbed.after("announce_locks", delayed(0.1), times=10)
    began = time.monotonic()
    await drain(app, concurrency=2, fetch_job_polling_interval=5, queues=queues)
    assert await statuses(app) == {JobStatus.SUCCEEDED: 3}
    assert (witness.order, witness.most) == (["a", "b", "c"], 1)
    assert time.monotonic() - began < 3


@pytest.mark.case(1)
async def test_a_worker_that_does_not_wait_ends_also_if_a_look_is_its_last_act(
    app: App, drain: Drain, disturbed: Disturbed, database_url: str
) -> None:
    """Case 1: it looks again, ever more rarely, while another transaction is open that might defer."""

    @app.task
    async def until_it_looks() -> None:
        looks = disturbed.calls["has_ready_jobs"]
        await until(lambda: disturbed.calls["has_ready_jobs"] >= looks + 2, "two looks")

    await until_it_looks.defer_async()
    disturbed.count("has_ready_jobs")
    # The next one falls due while the claim is under way that finds nothing any more.
    disturbed.after("claim_jobs", delayed(0.5), times=10, only_if=lambda jobs: not jobs)
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute("SELECT pg_current_xact_id()")
        began = time.monotonic()
        await drain(app, concurrency=2, fetch_job_polling_interval=10)
        assert time.monotonic() - began < 5
    assert await statuses(app) == {JobStatus.SUCCEEDED: 1}


async def test_another_worker_hears_of_a_lock_that_this_one_frees(
    make_app: MakeApp, start: Start
) -> None:
    """Each serves a queue of its own, and the lock is in both."""
    mails, files = make_app(), make_app()
    first, second = Witness(mails), Witness(files)
    await start(mails, queues=["mail"], fetch_job_polling_interval=60)
    await start(files, queues=["file"], fetch_job_polling_interval=60)
    began = time.monotonic()
    await first.locked.configure(queue="mail").defer_async(name="a")
    await first.locked.configure(queue="file").defer_async(name="b")
    await until(lambda: second.ended, "the second job")
    assert (first.order, second.order) == (["a"], ["b"])
    assert first.ended - began >= 0.1
    assert second.ended - began < 0.6


@pytest.mark.case(9)
async def test_a_more_urgent_job_of_a_lock_may_come_in_while_another_claim_is_at_it(
    app: App, start: Start, database_url: str, disturbed: Disturbed, actions: Any
) -> None:
    """Case 9: nothing waits, no error, and the order is kept."""
    witness = Witness(app, seconds=0.05)
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute(
            "SELECT pg_advisory_xact_lock("
            "'taskq_open_gates'::regclass::oid::integer, hashtext('a lock') & 1023)"
        )
        await start(app, concurrency=3, fetch_job_polling_interval=0.3)
        await witness.locked.batch_defer_async({"name": "a"}, {"name": "b"})
        disturbed.count("claim_jobs")
        await until(lambda: disturbed.calls["claim_jobs"] >= 2, "two claims")
        await witness.locked.configure(priority=5).defer_async(name="urgent")
        await until(lambda: disturbed.calls["claim_jobs"] >= 4, "two more")
        assert witness.order == []
        other.rollback()
        await until(lambda: len(witness.order) == 3 and not witness.running, "three jobs")
    assert witness.order == ["urgent", "a", "b"]
    assert witness.most == 1
    assert not [logged for logged in actions() if logged[0] != "INFO"]


async def test_what_follows_a_job_that_is_to_run_again_goes_back_and_waits_for_it(
    app: App, drain: Drain
) -> None:
    order: list[tuple[int, int]] = []

    @app.task(retry=RetryStrategy(max_attempts=2, wait=0), lock="a lock", pass_context=True)
    async def step(context: JobContext, number: int) -> None:
        order.append((number, context.job.attempt))
        if number == 1 and context.job.attempt == 1:
            raise ValueError

    await step.batch_defer_async(*[{"number": number} for number in range(4)])
    await drain(app, concurrency=2, prefetch=10)
    assert order == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]
    assert await statuses(app) == {JobStatus.SUCCEEDED: 4}


async def test_what_follows_a_job_that_takes_long_goes_back_and_others_may_come_before_it(
    app: App, start: Start, finished: Finished
) -> None:
    """A worker holds no more of a lock than it will soon run."""
    gate = asyncio.Event()
    order: list[str] = []

    @app.task(lock="a lock")
    async def step(name: str) -> None:
        order.append(name)
        if name == "slow":
            await gate.wait()

    worker = await start(app, concurrency=2)
    # So that it judges its jobs to be short.
    for _ in range(3):
        await finished((await step.batch_defer_async(*[{"name": "quick"}] * 20))[-1])
    *_, last = await step.batch_defer_async({"name": "slow"}, {"name": "a"}, {"name": "b"})
    await until(lambda: "slow" in order, "the slow one")
    pool = services_of(worker).executor_pool
    await until(lambda: not pool._runs, "nothing behind it")
    await step.configure(priority=1).defer_async(name="urgent")
    gate.set()
    await finished(last)
    assert order[-4:] == ["slow", "urgent", "a", "b"]


@pytest.mark.case(10)
async def test_a_retry_that_meets_its_own_queueing_lock_ends_clearly(
    app: App, start: Start, finished: Finished, connection: psycopg.Connection
) -> None:
    """Case 10: not stuck in doing, and the lock is free for the job that waits."""
    ran: list[int] = []

    @app.task(name="fragile", retry=True, lock="a lock", queueing_lock="one at a time")
    async def fragile(number: int) -> None:
        ran.append(number)
        if number == 1:
            await app.tasks["fragile"].defer_async(number=2)
            raise ValueError("a first attempt")

    await start(app, fetch_job_polling_interval=60)
    first = await finished(await fragile.defer_async(number=1))
    assert first.status == "failed"
    [attempt] = await app.job_manager.list_failed_attempts_async(first.id)
    assert attempt.error_type == "ValueError"
    assert attempt.error_message.startswith("a first attempt; not queued again")
    second = await finished(first.id + 1)
    assert (second.status, ran) == ("succeeded", [1, 2])
    assert connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
    ).fetchone() == (0,)


async def test_a_job_that_waits_for_its_retry_holds_its_followers(
    app: App, start: Start, finished: Finished
) -> None:
    order: list[str] = []

    @app.task(retry=1, lock="a lock")
    async def step(name: str) -> None:
        order.append(name)
        if order == ["a"]:
            raise ValueError("once")

    await start(app, concurrency=5, fetch_job_polling_interval=60)
    _, last = await step.batch_defer_async({"name": "a"}, {"name": "b"})
    await finished(last)
    assert order == ["a", "a", "b"]


async def test_the_successor_of_a_cancelled_job_starts_at_once(
    app: App, start: Start, finished: Finished
) -> None:
    order: list[str] = []

    @app.task(lock="a lock")
    async def step(name: str) -> None:
        order.append(name)

    await start(app, fetch_job_polling_interval=60)
    later = await step.configure(schedule_in={"hours": 1}).defer_async(name="later")
    follower = await step.defer_async(name="follower")
    await asyncio.sleep(0.1)
    assert order == [], "the head of the lock is not due yet"
    assert await app.job_manager.cancel_job_by_id_async(later)
    await finished(follower)
    assert order == ["follower"]


async def test_what_a_job_of_a_lock_returned_is_there_for_the_next_one(
    app: App, drain: Drain
) -> None:
    """Also where one worker runs them one after the other."""
    found: list[object] = []

    @app.task(lock="a lock", store_result=True, pass_context=True)
    async def note(context: JobContext) -> int:
        if context.job.id > 1:
            found.append((await app.job_manager.get_job_async(context.job.id - 1)).result)
        return context.job.id

    await note.batch_defer_async(*[{}] * 20)
    await drain(app, concurrency=2, prefetch=10)
    assert found == list(range(1, 20))
