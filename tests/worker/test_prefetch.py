"""A worker claims ahead what it is about to start, and hoards nothing."""

import asyncio

import pytest

from taskq import App
from taskq.job import JobStatus
from taskq.worker.prefetch import LARGEST, Prefetch
from tests.worker.conftest import Disturbed, Drain, MakeApp, Start, statuses, until


def after(prefetch: Prefetch, seconds: float, concurrency: int = 10) -> int:
    """Its size after some time with jobs that took so long, by as many slots."""
    for number in range(1, max(100, int(0.3 * concurrency / seconds))):
        prefetch.ended(seconds, now=1000 + number * seconds / concurrency)
    return prefetch.size


def test_nothing_is_claimed_ahead_before_anything_is_known() -> None:
    assert Prefetch(10).size == 0


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(0.0001, 300, LARGEST), (0.01, 25, 50), (0.1, 2, 5), (1, 0, 0)]
)
def test_what_is_claimed_ahead_starts_within_some_tens_of_milliseconds(
    seconds: float, least: int, most: int
) -> None:
    assert least <= after(Prefetch(10), seconds) <= most


def test_a_worker_that_a_slow_claim_keeps_waiting_does_not_claim_less_for_it() -> None:
    prefetch = Prefetch(1)
    now = 1000.0
    for _ in range(20):
        for _ in range(100):
            now += 0.0002
            prefetch.ended(0.0002, now)
        now += 0.1
        prefetch.rested(0.1)
    assert prefetch.size >= 200


def test_a_fixed_number_is_taken_as_it_is() -> None:
    assert after(Prefetch(10, 7), 1) == 7


@pytest.mark.case(14)
async def test_long_jobs_are_shared_with_a_worker_that_comes_later(
    make_app: MakeApp, start: Start
) -> None:
    """Case 14: 40 jobs of 1 s, concurrency 10; a second worker comes in the first second: under 3.2 s.

    That is three of the four times that the first one would take ten of them.
    """
    begun: list[int] = []
    apps = [make_app(), make_app()]
    for number, app in enumerate(apps):

        @app.task(name="second")
        async def second(number: int = number) -> None:
            begun.append(number)
            await asyncio.sleep(1)

    await second.batch_defer_async(*[{} for _ in range(40)])
    await start(apps[0], concurrency=10, prefetch="auto")
    await until(lambda: len(begun) == 10, "the first ten")
    await start(apps[1], concurrency=10, prefetch="auto")
    await until(lambda: len(begun) == 40, "40 jobs")
    assert begun.count(0) <= 30


async def test_short_jobs_come_in_batches(app: App, drain: Drain, disturbed: Disturbed) -> None:
    @app.task
    async def noop() -> None: ...

    await noop.batch_defer_async(*[{} for _ in range(2000)])
    disturbed.count("claim_jobs", "finish_jobs")
    await drain(app, concurrency=10)
    assert await statuses(app) == {JobStatus.SUCCEEDED: 2000}
    # One by one it would be 4,000; how many it is depends on the pace of the machine.
    assert disturbed.calls["claim_jobs"] + disturbed.calls["finish_jobs"] < 400


async def test_claimed_jobs_that_do_not_start_go_back_to_those_who_can(
    make_app: MakeApp, start: Start
) -> None:
    """The pace changes: after many short jobs the only slot meets a long one."""
    fast, other = make_app(), make_app()
    gate = asyncio.Event()
    ran: list[str] = []

    for app, name in ((fast, "fast"), (other, "other")):

        @app.task(name="short")
        async def short(name: str = name) -> None:
            ran.append(name)

        @app.task(name="long")
        async def long() -> None:
            await gate.wait()

    await short.batch_defer_async(*[{} for _ in range(500)])
    await long.defer_async()
    last = await short.batch_defer_async(*[{} for _ in range(100)])
    assert last
    await start(fast, concurrency=1)
    await until(lambda: len(ran) >= 500, "the short jobs before the long one")
    # It holds the rest, or at least some of it, behind the long job.
    await start(other, concurrency=1)
    await until(lambda: len(ran) == 600, "the short jobs behind the long one", seconds=3)
    assert ran.count("fast") >= 400
    gate.set()


async def test_a_prefetch_of_nothing_claims_for_free_sub_workers_alone(
    app: App, start: Start, disturbed: Disturbed
) -> None:
    begun = 0
    gate = asyncio.Event()

    @app.task
    async def hold() -> None:
        nonlocal begun
        begun += 1
        await gate.wait()

    await hold.batch_defer_async(*[{} for _ in range(5)])
    await start(app, concurrency=2, prefetch=0)
    await until(lambda: begun == 2, "two jobs")
    assert await statuses(app) == {JobStatus.DOING: 2, JobStatus.TODO: 3}
    gate.set()
    await until(lambda: begun == 5, "all of them")
