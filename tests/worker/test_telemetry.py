"""What subscribers are told of real workers."""

import asyncio
import threading
from collections import Counter
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobAborted, JobStatus, Snooze
from taskq.telemetry import (
    DatabaseFailed,
    DatabaseRecovered,
    Event,
    HeartbeatWritten,
    JobEnded,
    JobLost,
    JobOffered,
    JobReleased,
    JobRescued,
    JobsClaimed,
    JobsDeferred,
    JobsDeferring,
    JobsPruned,
    JobStarted,
    JobSucceeded,
    JobTaken,
    JobUnknown,
    OutcomeRefused,
    OutcomesWritten,
    PeriodicDeferred,
    WorkerStarted,
    WorkerStopped,
    WorkerStopping,
)
from tests.worker.conftest import Disturbed, Drain, Finished, Start, refused, until


@pytest.fixture
def events(app: App) -> list[Event]:
    """What the app's workers have told so far."""
    told: list[Event] = []
    app.telemetry.subscribe(Event, told.append)
    return told


def of(kind: type[Any], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


async def test_a_job_is_claimed_started_ended_and_written(
    app: App, drain: Drain, events: list[Event]
) -> None:
    @app.task(name="nap", queue="naps")
    async def nap() -> None:
        await asyncio.sleep(0.05)

    ids = await nap.batch_defer_async({}, {})
    await asyncio.sleep(0.1)
    await drain(app, name="ada", concurrency=2, queues=["naps"])
    order = [
        type(event) for event in events if not isinstance(event, HeartbeatWritten | JobsClaimed)
    ]
    assert order[:2] == [JobsDeferring, JobsDeferred]
    assert order[2:5] == [WorkerStarted, JobStarted, JobStarted]
    assert order[-2:] == [WorkerStopping, WorkerStopped]
    assert Counter(order)[JobSucceeded] == 2

    [started] = of(WorkerStarted, events)
    assert (started.worker_name, started.queues, started.concurrency) == ("ada", ["naps"], 2)
    [claimed] = [claim for claim in of(JobsClaimed, events) if claim.jobs]
    assert [job.id for job in claimed.jobs] == ids
    assert (claimed.worker_id, claimed.limit) == (started.worker_id, 2)
    assert 0 < claimed.seconds < 5
    for start in of(JobStarted, events):
        assert start.worker_name == "ada"
        assert 0.1 < start.waited < 10
        assert 0 <= start.prefetched_for <= start.waited
    for end in of(JobSucceeded, events):
        assert (end.worker_name, end.ending, end.error) == ("ada", "succeeded", None)
        assert (end.job.task_name, end.job.queue, end.job.attempt) == ("nap", "naps", 1)
        assert end.outcome.status is JobStatus.SUCCEEDED
        assert 0.05 <= round(end.seconds, 3) < 5
    written = of(OutcomesWritten, events)
    assert sorted(o.job_id for write in written for o in write.outcomes) == ids
    assert {write.worker_id for write in written} == {started.worker_id}
    assert all(0 < write.seconds < 5 for write in written)


async def test_each_way_to_end_is_an_event_and_each_start_has_its_end(
    app: App, start: Start, drain: Drain, events: list[Event], connection: psycopg.Connection
) -> None:
    attempts = iter([ConnectionError("not yet"), Snooze(timedelta(0)), ValueError("no")])
    begun = asyncio.Event()

    @app.task(name="fail", retry=1)
    async def fail() -> None:
        raise next(attempts)

    @app.task(name="abort")
    def abort() -> None:
        raise JobAborted

    @app.task(name="hang", queue="slow")
    async def hang() -> None:
        begun.set()
        await asyncio.sleep(600)

    for task in (fail, abort, hang):
        await task.defer_async()
    await app.configure_task("elsewhere").defer_async()
    await drain(app, queues=["default"])
    worker = await start(
        app, queues=["slow"], fetch_job_polling_interval=0.1, abort_job_polling_interval=0.1
    )
    await until(begun.is_set, "a job that runs")
    begun.clear()
    # As if another worker had it, and then as if it was given back.
    connection.execute("UPDATE taskq_jobs SET claim = claim + 1 WHERE task_name = 'hang'")
    await until(lambda: of(JobLost, events), "the loss")
    connection.execute("UPDATE taskq_jobs SET status = 'todo' WHERE task_name = 'hang'")
    await until(begun.is_set, "a job that runs again")
    worker.stop()
    worker.stop()
    await until(lambda: len(of(WorkerStopped, events)) == 2, "the end of the worker")

    ends = of(JobEnded, events)
    assert Counter((end.job.task_name, end.ending) for end in ends if end.ending != "unknown") == {
        ("fail", "retried"): 1,
        ("fail", "snoozed"): 1,
        ("fail", "failed"): 1,
        ("abort", "aborted"): 1,
        ("hang", "lost"): 1,
        ("hang", "released"): 1,
    }
    errors = {end.ending: type(end.error) for end in ends}
    assert (errors["retried"], errors["failed"]) == (ConnectionError, ValueError)
    assert of(JobLost, events)[0].outcome is None
    assert of(JobReleased, events)[0].outcome.status is JobStatus.TODO
    assert [taken.job.task_name for taken in of(JobTaken, events)] == ["hang"]
    # As many as it went back, of which the first one has its own.
    assert of(JobUnknown, events)
    [offered] = of(JobOffered, events)
    assert (offered.job.task_name, offered.timeout) == ("elsewhere", 300)
    starts = [(event.job.id, event.job.claim) for event in of(JobStarted, events)]
    assert sorted(starts) == sorted((end.job.id, end.job.claim) for end in ends)


current: ContextVar[str] = ContextVar("current", default="nothing")


async def test_a_job_has_the_context_variables_that_a_subscriber_sets_when_it_starts(
    app: App, drain: Drain
) -> None:
    seen: list[tuple[str, str]] = []

    @app.task(name="sync")
    def sync() -> None:
        seen.append(("sync", current.get()))

    @app.task(name="async")
    async def asynchronous() -> None:
        await asyncio.sleep(0)
        seen.append(("async", current.get()))

    def begin(event: JobStarted) -> None:
        current.set(f"job {event.job.id}")

    app.telemetry.subscribe(JobStarted, begin)
    app.telemetry.subscribe(JobEnded, lambda event: seen.append(("end", current.get())))
    first = await sync.defer_async()
    second = await asynchronous.defer_async()
    await drain(app)
    assert seen == [
        ("sync", f"job {first}"),
        ("end", f"job {first}"),
        ("async", f"job {second}"),
        ("end", f"job {second}"),
    ]
    assert current.get() == "nothing"


@pytest.mark.parametrize(
    ("operation", "purpose"),
    [
        ("claim_jobs", "claims"),
        ("finish_jobs", "completing"),
        ("beat", "heartbeat"),
        ("rescue_jobs", "scheduling, aborting and rescuing"),
    ],
)
async def test_a_bad_moment_of_the_database_has_a_beginning_and_an_end(
    app: App,
    start: Start,
    finished: Finished,
    events: list[Event],
    disturbed: Disturbed,
    operation: str,
    purpose: str,
) -> None:
    @app.task
    async def noop() -> None: ...

    disturbed.before(operation, refused)
    await start(app, update_heartbeat_interval=0.2)
    await finished(await noop.defer_async())
    await until(lambda: of(DatabaseRecovered, events), "its end")
    [failed] = of(DatabaseFailed, events)
    [recovered] = of(DatabaseRecovered, events)
    assert (failed.purpose, recovered.purpose) == (purpose, purpose)
    assert "division by zero" in str(failed.error)
    assert 0 < recovered.seconds < 5


async def test_what_else_a_worker_does(
    app: App, start: Start, events: list[Event], connection: psycopg.Connection
) -> None:
    @app.periodic(cron="* * * * * *", periodic_id="p")
    @app.task(name="tick", queue="ticks")
    async def tick(timestamp: int) -> None: ...

    threads: set[int] = set()
    app.telemetry.subscribe(HeartbeatWritten, lambda event: threads.add(threading.get_ident()))
    connection.execute(
        "INSERT INTO taskq_jobs (task_name, queue_name, args, status, worker_id, started_at, claim)"
        " VALUES ('lost', 'rare', '{}', 'doing', 1000000000, '2020-01-01', 1)"
    )
    connection.execute(
        "INSERT INTO taskq_jobs (task_name, queue_name, args, status, finished_at)"
        " VALUES ('old', 'rare', '{}', 'failed', '2020-01-01')"
    )
    worker = await start(
        app,
        queues=["ticks"],
        retention={"failed": timedelta(days=1)},
        update_heartbeat_interval=0.2,
    )
    for kind in (JobRescued, JobsPruned, HeartbeatWritten, PeriodicDeferred):
        await until(lambda kind=kind: of(kind, events), kind.__name__)  # type: ignore[misc]
    [rescued] = of(JobRescued, events)
    assert (rescued.task_name, rescued.queue) == ("lost", "rare")
    assert (rescued.status, rescued.crashes, rescued.had_begun) == ("todo", 1, True)
    [pruned] = of(JobsPruned, events)
    assert (pruned.status, pruned.jobs, pruned.kept) == ("failed", 1, timedelta(days=1))
    deferred = of(PeriodicDeferred, events)[0]
    assert (deferred.task_name, deferred.queue, deferred.periodic_id) == ("tick", "ticks", "p")
    assert (await app.job_manager.get_job_async(deferred.job_id)).task_name == "tick"
    beat = of(HeartbeatWritten, events)[0]
    assert beat.worker_id == worker.id
    assert 0 < beat.seconds < 5
    assert threading.get_ident() not in threads


async def test_an_end_that_is_refused_is_told_with_what_it_was(
    app: App, drain: Drain, events: list[Event], connection: psycopg.Connection
) -> None:
    @app.task
    async def steal() -> None:
        connection.execute("UPDATE taskq_jobs SET claim = claim + 1")

    job_id = await steal.defer_async()
    await drain(app)
    [lost] = of(OutcomeRefused, events)
    assert (lost.outcome.job_id, lost.outcome.status) == (job_id, JobStatus.SUCCEEDED)


async def test_a_worker_works_though_a_subscriber_of_everything_raises(
    app: App, drain: Drain, finished: Finished, actions: Any
) -> None:
    def fail(event: Event) -> None:
        raise SystemExit(1)

    app.telemetry.subscribe(Event, fail)

    @app.task
    async def noop() -> None: ...

    ids = await noop.batch_defer_async({}, {}, {})
    await drain(app, update_heartbeat_interval=0.2)
    assert {(await finished(job_id)).status for job_id in ids} == {JobStatus.SUCCEEDED}
    assert actions().count(("INFO", "job_succeeded")) == 3
    assert ("ERROR", "subscriber_failed") in actions()
    assert ("CRITICAL", "worker_broken") not in actions()
