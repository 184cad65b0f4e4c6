"""Workers end jobs that have not begun by their time, and run none of them."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, JobCancelled, JobExpired, JobStatus
from taskq.manager import WaitReason
from taskq.task import Task
from tests.conftest import Face
from tests.worker.conftest import Drain, Start, statuses

PAST = datetime(2001, 1, 1, tzinfo=UTC)
SOON = timedelta(milliseconds=200)


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def note(app: App, ran: list[str]) -> Task[..., Any]:
    @app.task(name="note", store_result=True)
    async def note(what: str) -> None:
        ran.append(what)

    return note


async def test_an_idle_worker_ends_it_at_its_time(
    app: App, start: Start, note: Task[..., Any], ran: list[str], face: Face
) -> None:
    """It is notified of the time, as its polls would be too late."""
    await start(app, fetch_job_polling_interval=60)
    # Behind one that is for later it cannot begin.
    await face.defer(
        note.configure(lock="held", priority=1, schedule_in={"hours": 1}), what="first"
    )
    late = await face.defer(note.configure(lock="held", expire_in=SOON), what="late")
    with pytest.raises(
        JobExpired, match=rf"job {late} \(note\) was cancelled, as it had not"
    ) as told:
        await note.wait_async(late, timeout=15)
    assert isinstance(told.value, JobCancelled)
    assert told.value.job_id == late
    job = app.job_manager.get_job(late)
    assert job.expired
    assert job.expires_at is not None
    assert job.finished_at is not None
    assert job.expires_at <= job.finished_at < job.expires_at + timedelta(seconds=10)
    assert ran == []


async def test_a_time_that_is_over_ends_it_at_once_and_a_plain_job_runs(
    app: App, start: Start, note: Task[..., Any], ran: list[str]
) -> None:
    await start(app, fetch_job_polling_interval=60)
    late, plain = await asyncio.gather(
        note.configure(expire_at=PAST).defer_async(what="late"), note.defer_async(what="plain")
    )
    with pytest.raises(JobExpired):
        await note.wait_async(late, timeout=15)
    await note.wait_async(plain, timeout=15)
    assert ran == ["plain"]
    assert (await statuses(app))[JobStatus.CANCELLED] == 1


async def test_one_that_begins_in_time_runs_however_long_and_often(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    attempts: list[int] = []

    @app.task(name="again", retry=2, pass_context=True)
    async def again(context: Any) -> None:
        attempts.append(context.job.attempt)
        # Its time is over while it runs.
        connection.execute(
            "UPDATE taskq_jobs SET expires_at = '2001-01-01Z' WHERE status = 'doing'"
        )
        if len(attempts) < 3:
            raise ValueError("once more")

    job_id = await again.configure(expire_in={"hours": 1}).defer_async()
    await drain(app)
    assert attempts == [1, 2, 3]
    assert app.job_manager.get_job_status(job_id) is JobStatus.SUCCEEDED


async def test_after_a_time_without_workers_all_that_is_late_goes(
    app: App, drain: Drain, note: Task[..., Any], ran: list[str]
) -> None:
    late = note.configure(expire_at=PAST)
    await late.batch_defer_async(*[{"what": "late"}] * 2500)
    await note.defer_async(what="plain")
    await drain(app)
    assert ran == ["plain"]
    assert (await statuses(app))[JobStatus.CANCELLED] == 2500


async def test_why_it_does_not_run_and_how_it_ended_is_explained(
    app: App, drain: Drain, note: Task[..., Any]
) -> None:
    job_id = await note.configure(expire_at=PAST).defer_async(what="late")
    said = app.job_manager.explain_job(job_id)
    assert said.reason is WaitReason.EXPIRED
    assert said.text.startswith("it was to begin by 2001-01-01 00:00:00+00:00, and will not")
    assert said.at == PAST
    await drain(app)
    said = app.job_manager.explain_job(job_id)
    assert said.reason is WaitReason.FINISHED
    assert said.text == "it has ended, as cancelled: it had not begun by 2001-01-01 00:00:00+00:00"


async def test_one_that_was_cancelled_by_hand_has_not_expired(
    app: App, note: Task[..., Any]
) -> None:
    job_id = await note.configure(expire_in={"hours": 1}).defer_async(what="cancelled")
    app.job_manager.cancel_job_by_id(job_id)
    assert not app.job_manager.get_job(job_id).expired
    assert app.job_manager.explain_job(job_id).text == "it has ended, as cancelled"
    with pytest.raises(JobCancelled, match="was cancelled before it began") as told:
        await note.wait_async(job_id, timeout=15)
    assert not isinstance(told.value, JobExpired)
