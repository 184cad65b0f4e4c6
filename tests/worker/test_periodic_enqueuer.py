"""The workers defer each tick once: from when on, and what becomes of ticks that come while none runs."""

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import psycopg
import pytest

from taskq import App, queries
from taskq.periodic import Periodic
from taskq.worker import periodic_enqueuer
from tests.worker.conftest import Start, services_of, until

HOUR = 3600


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    """An app that makes up for an hour."""
    async with App(database_url, periodic_defaults={"max_delay": HOUR}) as app:
        yield app


def declare(app: App, cron: str, *, periodic_id: str = "") -> list[int]:
    """Declare a period of the task ``report``; returns the ticks whose jobs have run."""
    seen: list[int] = []

    @app.periodic(cron=cron, periodic_id=periodic_id)
    @app.task(name="report")
    async def report(timestamp: int) -> None:
        seen.append(timestamp)

    return seen


def takes_timestamp(timestamp: int) -> None: ...


def defer(app: App, declared: Periodic, tick: int) -> int | None:
    with app.database.engine.connect() as connection:
        return queries.periodic.defer_periodic(
            connection, declared.job(tick), declared.periodic_id, tick
        )


def register(app: App, *schedules: tuple[str, str]) -> dict[str, int]:
    """Register periods of the task ``report`` by their ids."""
    with app.database.engine.connect() as connection:
        answers = queries.periodic.register_periodic(
            connection, {("report", periodic_id): schedule for periodic_id, schedule in schedules}
        )
    return {periodic_id: counts_after for (_, periodic_id), counts_after in answers.items()}


def count(app: App) -> int:
    return sum(app.job_manager.count_jobs().values())


# One tick


async def test_of_many_at_once_one_defers_a_tick(app: App) -> None:
    declare(app, "* * * * *")
    [declared] = app.periodics
    start = Barrier(8)

    def race(tick: int) -> int | None:
        start.wait()
        return defer(app, declared, tick)

    with ThreadPoolExecutor(8) as pool:
        for tick in (60, 120):
            ids = list(pool.map(race, [tick] * 8))
            assert sum(id_ is not None for id_ in ids) == 1
    assert count(app) == 2
    assert defer(app, declared, 60) is None, "an older tick than the last one"


async def test_the_periods_of_a_task_are_deferred_each(app: App) -> None:
    task = app.task(name="report")(takes_timestamp)
    for periodic_id in ("", "other"):
        app.periodic(cron="* * * * *", periodic_id=periodic_id)(task)
    assert [defer(app, declared, 60) is not None for declared in app.periodics] == [True, True]
    assert count(app) == 2


async def test_a_tick_that_meets_its_queueing_lock_is_skipped_for_good(app: App) -> None:
    task = app.task(name="report", queueing_lock="report")(takes_timestamp)
    app.periodic(cron="* * * * *")(task)
    [declared] = app.periodics
    first = defer(app, declared, 60)
    assert first is not None
    assert defer(app, declared, 120) is None
    app.job_manager.cancel_job_by_id(first)
    assert defer(app, declared, 120) is None
    assert defer(app, declared, 180) is not None


# From when on


@pytest.mark.parametrize("row", ["new", "another schedule", "ahead"])
async def test_what_is_new_starts_with_the_next_tick(
    app: App, start: Start, connection: psycopg.Connection, row: str
) -> None:
    seen = declare(app, "* * * * * *")
    began = int(time.time())
    if row == "another schedule":
        connection.execute(
            "INSERT INTO taskq_periodic VALUES ('report', '', %s, %s, '* * * * * UTC')",
            [began - HOUR // 2, began - HOUR],
        )
    elif row == "ahead":
        # From a clock that was wrong. The doctor looks for the ticks that are.
        connection.execute(
            "INSERT INTO taskq_periodic VALUES ('report', '', NULL, %s, '* * * * * * UTC')",
            [began + 9 * HOUR],
        )
    for _ in range(2):
        await start(app)
    await until(lambda: len(seen) >= 2, "two ticks")
    assert min(seen) > began
    assert len(seen) == len(set(seen))


async def test_workers_make_up_for_the_ticks_of_the_last_while_and_no_older_ones(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    seen = declare(app, "*/10 * * * *")
    connection.execute("INSERT INTO taskq_periodic VALUES ('report', '', NULL, 0)")
    began = time.time()
    for _ in range(2):
        await start(app)
    await until(lambda: len(seen) >= 6, "the ticks of an hour")
    assert len(seen) == len(set(seen))
    assert all(began - HOUR - 1 < tick <= time.time() and tick % 600 == 0 for tick in seen)
    assert len(seen) in {6, 7}


async def test_they_make_up_for_what_came_after_the_last_one(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    seen = declare(app, "*/10 * * * *")
    last = int(time.time()) // 600 * 600 - 1200
    connection.execute("INSERT INTO taskq_periodic VALUES ('report', '', %s, 0)", [last])
    await start(app)
    await until(lambda: len(seen) >= 2, "the two ticks after the last one")
    assert sorted(seen)[:2] == [last + 600, last + 1200]


async def test_a_period_is_new_once_and_when_its_schedule_changes(
    app: App, connection: psycopg.Connection
) -> None:
    began = int(time.time())
    new = register(app, ("", "a"), ("other", "b"))
    assert all(began <= counts_after <= time.time() for counts_after in new.values())
    connection.execute("UPDATE taskq_periodic SET known_since = 50")
    assert register(app, ("", "a"), ("other", "b")) == {"": 50, "other": 50}
    connection.execute("UPDATE taskq_periodic SET last_tick = 70 WHERE periodic_id = ''")
    assert register(app, ("", "a"), ("other", "b")) == {"": 70, "other": 50}
    changed = register(app, ("", "c"), ("other", "b"))
    assert (changed[""] >= began, changed["other"]) == (True, 50)
    assert register(app, ("", "a"))[""] >= began, "one that comes back is new as well"
    assert app.job_manager.list_ticks().keys() == {("report", "")}, "the other was never deferred"


async def test_workers_that_start_together_agree(app: App) -> None:
    start = Barrier(8)
    periods = [(f"period {number}", "a") for number in range(50)]

    def race(number: int) -> dict[str, int]:
        start.wait()
        return register(app, *(periods if number % 2 else reversed(periods)))

    with ThreadPoolExecutor(8) as pool:
        first, *others = pool.map(race, range(8))
    assert all(other == first for other in others)


async def test_workers_of_two_schedules_take_nothing_from_one_another(app: App) -> None:
    """As in a deploy that changes a schedule, in which an old worker starts once more."""
    declare(app, "* * * * *")
    [declared] = app.periodics
    register(app, ("", "old"))
    assert defer(app, declared, 60)
    register(app, ("", "new"))
    assert defer(app, declared, 120), "a tick that the old ones have to defer yet"
    assert defer(app, declared, 120) is None, "the new ones have it too"
    assert defer(app, declared, 180), "a tick of the new ones"
    register(app, ("", "old"))
    assert defer(app, declared, 240), "another one of the new ones"
    assert count(app) == 4


@pytest.mark.slow
async def test_an_old_worker_ticks_on_beside_a_new_one(
    app: App, start: Start, database_url: str
) -> None:
    seen = declare(app, "* * * * * *", periodic_id="p")
    async with App(database_url) as newer:
        also_seen = declare(newer, "* * * * * */2", periodic_id="p")
        await start(app, concurrency=1)
        await until(lambda: seen, "a tick")
        worker = await start(newer, concurrency=1)
        ran = len(seen)
        await until(lambda: any(tick % 2 for tick in (seen + also_seen)[ran:]), "an old tick")
        await until(lambda: len(seen + also_seen) > ran + 3, "more ticks")
        worker.stop()
        await until(worker._stopping.is_set)
    assert len(seen + also_seen) == len(set(seen + also_seen))


async def test_a_clock_that_is_set_is_followed(
    app: App, start: Start, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a worker waits for a tick: else that would be as late as the clock was put forward."""
    monkeypatch.setattr(periodic_enqueuer, "_LOOK_EVERY", 0.05)
    declare(app, "0 0 1 1 *")
    [declared] = app.periodics
    worker = await start(app, update_heartbeat_interval=25.0)
    await until(
        lambda: connection.execute("SELECT 1 FROM taskq_periodic").fetchone(), "a known period"
    )
    await asyncio.sleep(0.1)  # until it waits, which leaves no trace
    registration = services_of(worker).registration
    tick = declared.next_after(time.time())
    registration.see_clock(tick, registration.now())
    await until(app.job_manager.list_ticks, "the tick")
    [deferred] = app.job_manager.list_ticks().values()
    assert deferred.timestamp() == tick
