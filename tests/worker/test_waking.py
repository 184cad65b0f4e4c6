"""A worker is never idle while there is work."""

import asyncio
import json
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from taskq import App, queries
from taskq.exceptions import Retry, Snooze
from taskq.queries.job_claim import AvailabilityCheck
from taskq.worker.registration import Registration
from tests.worker.conftest import (
    Disturbed,
    Finished,
    MakeApp,
    Start,
    delayed,
    idle,
    services_of,
    until,
)

LONG_NAME = "a 'queue', a \"queue\" ".ljust(200, "ü")


class Bell:
    """When something happened for the first time."""

    def __init__(self) -> None:
        self._at = 0.0
        self._rung = asyncio.Event()

    @property
    def has_rung(self) -> bool:
        return self._rung.is_set()

    def ring(self) -> None:
        self._at = self._at or time.monotonic()
        self._rung.set()

    def reset(self) -> None:
        self._at = 0.0
        self._rung.clear()

    async def heard(self) -> float:
        """When it rang, by ``time.monotonic``."""
        async with asyncio.timeout(15):
            await self._rung.wait()
        return self._at


@pytest.fixture
def bell(app: App) -> Bell:
    """Rings when the app's task ``ring`` starts."""
    bell = Bell()

    @app.task(name="ring")
    async def ring() -> None:
        bell.ring()

    return bell


@pytest.mark.case(11)
@pytest.mark.parametrize("queue", ["default", LONG_NAME])
async def test_an_idle_worker_hears_of_a_job_at_once(
    app: App, start: Start, bell: Bell, queue: str
) -> None:
    """Case 11: a queue name of 200 characters, with quotes and spaces, works with LISTEN too."""
    worker = await start(app, queues=[queue], fetch_job_polling_interval=60)
    ring = app.tasks["ring"].configure(queue=queue)
    # The first may be found by a claim with which the worker begins.
    await ring.defer_async()
    await bell.heard()
    await idle(worker)
    bell.reset()
    began = time.monotonic()
    await ring.defer_async()
    assert await bell.heard() - began < 0.2


@pytest.mark.case(11)
async def test_a_queue_with_a_long_name_is_polled_without_listen(
    app: App, start: Start, bell: Bell
) -> None:
    """Case 11, and ``listen_notify=False``: the polling interval is the bound."""
    await start(app, queues=[LONG_NAME], listen_notify=False, fetch_job_polling_interval=0.3)
    began = time.monotonic()
    await app.tasks["ring"].configure(queue=LONG_NAME).defer_async()
    assert await bell.heard() - began < 0.5


async def test_a_worker_leaves_the_jobs_of_other_queues(
    app: App, start: Start, bell: Bell, finished: Finished
) -> None:
    ring = app.tasks["ring"]
    other = await ring.configure(queue="other").defer_async()
    await start(app, queues=["default"])
    await finished(await ring.defer_async())
    assert (await app.job_manager.get_job_async(other)).status == "todo"


@pytest.mark.case(2)
async def test_a_delayed_job_starts_when_it_is_due(app: App, start: Start, bell: Bell) -> None:
    """Case 2: a job deferred with 1 s delay starts within 1.2 s."""
    await start(app, fetch_job_polling_interval=60)
    began = time.monotonic()
    await app.tasks["ring"].configure(schedule_in={"seconds": 1}).defer_async()
    assert 1 <= await bell.heard() - began < 1.2


@pytest.mark.parametrize("listen_notify", [True, False])
async def test_a_job_that_waited_before_the_worker_starts_when_it_is_due(
    app: App, start: Start, bell: Bell, listen_notify: bool
) -> None:
    began = time.monotonic()
    await app.tasks["ring"].configure(schedule_in={"seconds": 1}).defer_async()
    await start(app, fetch_job_polling_interval=60, listen_notify=listen_notify)
    assert 1 <= await bell.heard() - began < 1.2


async def test_a_job_that_is_due_earlier_is_not_held_by_a_later_one(
    app: App, start: Start, bell: Bell
) -> None:
    await start(app, fetch_job_polling_interval=60)
    ring = app.tasks["ring"]
    began = time.monotonic()
    await ring.configure(schedule_in={"hours": 1}).defer_async()
    await ring.configure(schedule_in={"seconds": 0.5}).defer_async()
    assert 0.5 <= await bell.heard() - began < 0.7


@pytest.mark.case(2)
async def test_immediate_retries_are_immediate(app: App, start: Start, finished: Finished) -> None:
    """Case 2: two immediate retries take under 0.3 s."""
    starts: list[float] = []

    @app.task(retry=2)
    async def fail() -> None:
        starts.append(time.monotonic())
        raise ValueError(f"attempt {len(starts)}")

    await start(app, fetch_job_polling_interval=60)
    job_id = await fail.defer_async()
    job = await finished(job_id)
    assert job.status == "failed"
    assert len(starts) == job.attempt == 3
    assert starts[-1] - starts[0] < 0.3
    failed = await app.job_manager.list_failed_attempts_async(job_id)
    assert [f.error_message for f in failed] == ["attempt 1", "attempt 2", "attempt 3"]


@pytest.mark.parametrize("how", ["snooze", "retry"])
async def test_a_job_that_asks_to_wait_is_run_again_on_time(
    app: App, start: Start, finished: Finished, how: str
) -> None:
    """To within 100 ms of when it is due, and a snooze is no attempt."""
    starts: list[float] = []
    wait = timedelta(seconds=0.5)

    @app.task(name="later")
    async def later() -> None:
        # The server's clock is this machine's.
        starts.append(time.time())
        if len(starts) == 1:
            raise Snooze(wait) if how == "snooze" else Retry(wait)

    await start(app, fetch_job_polling_interval=60)
    job = await finished(await later.defer_async())
    assert job.status == "succeeded"
    assert job.attempt == (1 if how == "snooze" else 2)
    first, second = starts
    assert job.scheduled_at is not None
    due = job.scheduled_at.timestamp()
    assert due - first >= 0.5
    assert 0 <= second - due < 0.1


@pytest.mark.case(3)
async def test_a_job_deferred_during_an_empty_claim_starts_at_once(
    app: App, start: Start, bell: Bell, disturbed: Disturbed
) -> None:
    """Case 3: an empty claim is on its way back for 50 ms; the job starts within 0.2 s."""
    await start(app, fetch_job_polling_interval=0.3)
    on_its_way = asyncio.Event()

    def late(connection: Connection) -> None:
        on_its_way.set()
        delayed(0.05)(connection)

    disturbed.after("list_ready_queues", late)
    async with asyncio.timeout(15):
        await on_its_way.wait()
    began = time.monotonic()
    await app.tasks["ring"].defer_async()
    assert await bell.heard() - began < 0.2
    assert disturbed.calls["list_ready_queues"] >= 1


@pytest.mark.parametrize(
    "jobs",
    [
        [{"queue": "a"}, {"queue": "b", "priority": 1}],
        [{"queue": "a"}, {"queue": "a", "priority": 1, "lock": "one"}],
    ],
    ids=["in two queues", "one with a lock"],
)
async def test_of_jobs_that_an_idle_worker_hears_of_at_once_the_first_in_order_runs_first(
    app: App, start: Start, jobs: list[dict[str, Any]]
) -> None:
    ran: list[int] = []
    done = asyncio.Event()

    @app.task(name="note")
    async def note(priority: int) -> None:
        ran.append(priority)
        if len(ran) % 2 == 0:
            done.set()

    worker = await start(app, prefetch=0, fetch_job_polling_interval=60)
    new_jobs = [
        app.configure_task("note", **options).prepare(priority=options.get("priority", 0))
        for options in jobs
    ]
    # The first time it looks for all there may be, and later where it heard of something.
    for _ in range(3):
        await idle(worker)
        done.clear()
        await app.job_manager.defer_jobs_async(new_jobs)
        async with asyncio.timeout(15):
            await done.wait()
    assert ran == [1, 0] * 3


async def test_an_idle_worker_goes_straight_for_what_it_hears_of(
    app: App, start: Start, bell: Bell, disturbed: Disturbed
) -> None:
    """It claims there, and does not ask which queues there are."""

    async def ring(times: int) -> None:
        for _ in range(times):
            await idle(worker)
            # Also done with looking for what others may commit later.
            await until(
                lambda: services_of(worker).producer._timing._recheck_after is None, "its last look"
            )
            bell.reset()
            await app.tasks["ring"].defer_async()
            await bell.heard()

    worker = await start(app, fetch_job_polling_interval=60)
    await ring(times=1)
    disturbed.count_claims()
    await ring(times=5)
    assert disturbed.claims == {"claim_jobs": 5}


async def test_without_notifications_the_poll_finds_jobs_for_later(
    app: App, start: Start, bell: Bell
) -> None:
    await start(app, listen_notify=False, fetch_job_polling_interval=0.3)
    began = time.monotonic()
    await app.tasks["ring"].configure(schedule_in={"seconds": 0.1}).defer_async()
    assert 0.1 <= await bell.heard() - began < 0.6


async def test_the_poll_comes_however_often_the_worker_is_woken(
    app: App,
    start: Start,
    bell: Bell,
    connection: psycopg.Connection,
    disturbed: Disturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By notifications that seem to be for others, and with checks that see nothing."""
    monkeypatch.setattr(Registration, "rank", lambda *_: 1)
    nothing = AvailabilityCheck(ready=False, oldest_transaction=1, next_transaction=1)
    monkeypatch.setattr(queries.job_claim, "has_ready_jobs", lambda *_: nothing)
    disturbed.count("list_peers")
    await start(app, fetch_job_polling_interval=0.5)
    await until(lambda: disturbed.calls["list_peers"] == 2, "its look for the dead")
    await app.tasks["ring"].defer_async()
    began = time.monotonic()
    while not bell.has_rung:
        assert time.monotonic() - began < 5
        connection.execute("SELECT taskq_notify('default')")
        await asyncio.sleep(0.1)


@pytest.mark.case(12)
@pytest.mark.parametrize("concurrency", [1, 10])
async def test_idle_workers_do_not_all_claim_the_same_job(
    make_app: MakeApp, start: Start, disturbed: Disturbed, concurrency: int
) -> None:
    """Case 12: eight idle workers, fifty defers: at most two claims a job in sum."""
    ran: list[int] = []
    apps = [make_app() for _ in range(8)]
    for app in apps:

        @app.task(name="count")
        async def count(number: int) -> None:
            ran.append(number)

        await start(
            app,
            concurrency=concurrency,
            fetch_job_polling_interval=60,
            update_heartbeat_interval=0.2,
        )
    # Each has to have seen the others, which it looks for with its heartbeat.
    disturbed.count("list_peers")
    await until(lambda: disturbed.calls["list_peers"] >= 16, "two looks of each at the others")
    disturbed.count_claims()
    for number in range(50):
        await apps[number % 8].tasks["count"].defer_async(number=number)
        await until(lambda number=number: len(ran) > number, f"job {number}")  # type: ignore[misc]
    # Peeks that are still planned.
    await asyncio.sleep(0.1)
    assert ran == list(range(50))
    assert disturbed.claims["claim_jobs"] <= 100


@pytest.mark.case(12)
async def test_fifty_defers_in_a_row_cost_no_more_claims(
    make_app: MakeApp, start: Start, disturbed: Disturbed
) -> None:
    """Case 12 again, as fast as they can be deferred."""
    ran: set[int] = set()
    apps = [make_app() for _ in range(8)]
    for app in apps:

        @app.task(name="count")
        async def count(number: int) -> None:
            ran.add(number)

        await start(app, fetch_job_polling_interval=60, update_heartbeat_interval=0.2)
    disturbed.count("list_peers")
    await until(lambda: disturbed.calls["list_peers"] >= 16, "two looks of each at the others")
    disturbed.count_claims()
    for number in range(50):
        await apps[0].tasks["count"].defer_async(number=number)
    await until(lambda: len(ran) == 50, "fifty jobs")
    await asyncio.sleep(0.1)
    assert disturbed.claims["claim_jobs"] <= 100


@pytest.mark.parametrize("listens", ["before", "after"])
async def test_a_job_that_left_its_notification_to_another_is_found(
    app: App, start: Start, bell: Bell, database_url: str, listens: str
) -> None:
    """Of transactions that defer at once one notifies, and the other may well commit later."""
    heard = asyncio.Event()

    @app.task(name="other")
    async def other() -> None:
        heard.set()

    if listens == "before":
        await start(app, fetch_job_polling_interval=60)
    url = database_url.replace("+psycopg", "", 1)
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        for connection, task in ((first, "other"), (second, "ring")):
            jobs = json.dumps([{"task_name": task}])
            connection.execute("SELECT taskq_defer_jobs(%s, 'raise', true)", [jobs])
        first.commit()
        if listens == "after":
            await start(app, fetch_job_polling_interval=60)
        async with asyncio.timeout(15):
            await heard.wait()
        await asyncio.sleep(0.05)  # the worker has looked again by now, and found nothing
        second.commit()
        committed = time.monotonic()
        assert await bell.heard() - committed < 0.2
