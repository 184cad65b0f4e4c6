"""What subscribers are told where jobs are deferred."""

import asyncio
from collections.abc import Iterator
from contextvars import ContextVar

import psycopg
import pytest

from taskq import AlreadyEnqueued, App, JobDraft, queries
from taskq.telemetry import Event, JobsDeferred, JobsDeferring, JobsNotDeferred, PeriodicDeferred
from tests.conftest import Face


def moved(job: JobDraft) -> None:
    job.queue = "moved"


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url, defer_middleware=moved) as opened:
        opened.task(name="note", queue="notes")(note)
        yield opened


def note(number: int = 0) -> None: ...


@pytest.fixture
def told(app: App) -> list[Event]:
    """What was told so far of deferring."""
    events: list[Event] = []
    for kind in (JobsDeferring, JobsDeferred, JobsNotDeferred):
        app.telemetry.subscribe(kind, events.append)
    return events


async def test_a_call_tells_what_it_is_about_to_defer_and_then_what_it_has(
    app: App, told: list[Event], face: Face
) -> None:
    ids = await face.batch(app.tasks["note"], {"number": 1}, {"number": 2})
    before, after = told
    assert isinstance(before, JobsDeferring)
    assert isinstance(after, JobsDeferred)
    assert (before.event, before.tick) == (None, None)
    assert [job.queue_name for job in before.jobs] == ["notes", "notes"]
    assert [job.queue_name for job in after.jobs] == ["moved", "moved"]
    assert after.ids == ids
    assert 0 < after.seconds < 10


async def test_a_call_that_fails_tells_what_it_raises(
    app: App, told: list[Event], face: Face
) -> None:
    once = app.tasks["note"].configure(queueing_lock="once")
    await face.defer(once)
    with pytest.raises(AlreadyEnqueued) as raised:
        await face.defer(once)
    *_, failed = told
    assert isinstance(failed, JobsNotDeferred)
    assert failed.error is raised.value
    assert await face.defer(once.configure(on_conflict="skip")) is None
    *_, skipped = told
    assert isinstance(skipped, JobsDeferred)
    assert skipped.ids == [None]


async def test_both_ends_of_a_call_are_told_in_its_own_context(app: App) -> None:
    request: ContextVar[int] = ContextVar("request")

    def begin(event: JobsDeferring) -> None:
        request.set(event.jobs[0].args["number"])

    app.telemetry.subscribe(JobsDeferring, begin)
    seen: list[tuple[int, int]] = []
    app.telemetry.subscribe(
        JobsDeferred, lambda event: seen.append((request.get(), event.jobs[0].args["number"]))
    )
    # At the same time, so that they share a statement.
    await asyncio.gather(*(app.tasks["note"].defer_async(number=n) for n in range(1, 20)))
    assert sorted(seen) == [(n, n) for n in range(1, 20)]


async def test_publishing_tells_of_the_jobs_of_the_subscribers_that_are_known(
    app: App, told: list[Event], database_url: str, face: Face
) -> None:
    app.on("paid", queueing_lock="one")(app.tasks["note"])
    app.on("paid")(app.task(name="a first")(lambda number: None))
    with App(database_url) as other, app.database.engine.begin() as connection:
        other.on("paid")(other.task(name="middle")(lambda number: None))
        declared = [each.declared for each in other.subscribers]
        queries.subscriptions.declare_subscriptions(connection, declared, declared_by="w")
    publish = app.publish_async if face.is_async else app.publish
    for others in (2, 1):  # the second time the job with the lock waits already
        told.clear()
        published = publish("paid", number=7)
        ids = published if isinstance(published, list) else await published
        before, after = told
        assert isinstance(before, JobsDeferring)
        assert isinstance(after, JobsDeferred)
        assert (before.event, before.tick) == ("paid", None)
        assert [job.task_name for job in after.jobs] == ["a first", "note"]
        assert {job.queue_name for job in after.jobs} == {"moved"}
        assert after.ids[0] == ids[0]
        assert after.ids[1] == (ids[2] if others == 2 else None)
        assert len(ids) == 1 + others


async def test_a_worker_tells_of_the_job_of_a_tick_once(
    app: App, told: list[Event], connection: psycopg.Connection
) -> None:
    app.periodic(cron="* * * * * *")(app.task(name="tick")(lambda timestamp: None))
    first, second = app.worker(name="one"), app.worker(name="two")
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    ticks: list[PeriodicDeferred] = []

    def tick(event: PeriodicDeferred) -> None:
        ticks.append(event)
        if len(ticks) >= 2:
            loop.call_soon_threadsafe(done.set)

    app.telemetry.subscribe(PeriodicDeferred, tick)
    running = [asyncio.create_task(worker.run()) for worker in (first, second)]
    async with asyncio.timeout(20):
        await done.wait()
    first.stop()
    second.stop()
    await asyncio.gather(*running)
    deferred = [event.ids for event in told if isinstance(event, JobsDeferred)]
    assert deferred == [[event.job_id] for event in ticks]
    begun = {event.tick for event in told if isinstance(event, JobsDeferring)}
    assert {event.tick for event in ticks} <= begun
    # Those that came second.
    assert all(event.error is None for event in told if isinstance(event, JobsNotDeferred))
    assert len({job_id for [job_id] in deferred}) == len(deferred)
