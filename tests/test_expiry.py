"""Until when a job may begin: what ``configure`` and ``@app.task`` take, and what they refuse."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from taskq import App
from taskq.exceptions import InvalidJob, InvalidPeriodic, InvalidSchedule
from taskq.job import new_job
from taskq.task import Task
from tests.conftest import Face

LATER = datetime(2100, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:
        yield app


@pytest.fixture
def brief(app: App) -> Task[..., Any]:
    @app.task(name="brief", expire_in={"minutes": 1})
    def brief() -> None: ...

    return brief


@pytest.mark.parametrize("expire_in", [MINUTE, {"seconds": 60}])
async def test_a_wait_is_from_the_call_by_the_databases_clock(
    app: App, brief: Task[..., Any], face: Face, expire_in: Any
) -> None:
    assert brief.expire_in == MINUTE
    for deferrer in (brief, brief.configure(expire_in=expire_in)):
        job = app.job_manager.get_job(await face.defer(deferrer))
        assert job.expires_at is not None
        assert MINUTE <= job.expires_at - job.deferred_at < 2 * MINUTE
        assert not job.expired


async def test_a_time_takes_the_place_of_the_tasks_wait(
    app: App, brief: Task[..., Any], face: Face
) -> None:
    [job_id] = await face.batch(brief.configure(expire_at=LATER), {})
    assert app.job_manager.get_job(job_id).expires_at == LATER
    [job_id] = await face.batch(brief.configure(expire_at=LATER).configure(expire_in=MINUTE), {})
    expires_at = app.job_manager.get_job(job_id).expires_at
    assert expires_at is not None
    assert expires_at < LATER
    for plain in (brief.configure(expire_in=None), brief.configure(expire_at=None)):
        assert app.job_manager.get_job(await face.defer(plain)).expires_at is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"expire_at": LATER, "expire_in": MINUTE}, "got expire_at=.* and expire_in=.*: give one"),
        ({"expire_at": datetime(2100, 1, 1)}, "expire_at=.*, which has no time zone: say which"),  # noqa: DTZ001
        ({"expire_at": datetime(9999, 1, 1, tzinfo=UTC)}, "not in the years"),
        ({"expire_at": "tomorrow"}, "expire_at='tomorrow', which is no datetime"),
        ({"expire_in": 5}, "expire_in=5, which is no wait"),
        (
            {"expire_in": timedelta(0)},
            r"expire_in=0\.0: .*leaves no time to begin: give more than 0",
        ),
        ({"expire_in": {"minutes": -1}}, r"expire_in=-60\.0: .*or expire_at for a time that may"),
        (
            {"expire_at": LATER, "schedule_at": LATER},
            r"expire_at=.* is not after the time at which it may start \(2100-01-01",
        ),
        ({"expire_in": MINUTE, "schedule_in": MINUTE}, r"start \(60\.0\): it would never begin"),
        ({"schedule_in": {"hours": 1}}, r"expire_in=60\.0: .*it would never begin"),
    ],
)
def test_what_makes_no_sense_is_refused(
    brief: Task[..., Any], options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(InvalidSchedule, match=fault):
        brief.configure(**options)


def test_a_task_is_refused_that_could_not_begin(app: App) -> None:
    with pytest.raises(InvalidSchedule, match="task 'never' cannot be deferred with expire_in"):

        @app.task(name="never", expire_in=timedelta(0))
        def never() -> None: ...

    with pytest.raises(InvalidJob, match="cannot be declared with 'expire_at'"):

        @app.task(name="never", expire_at=LATER)  # type: ignore[call-overload,untyped-decorator]
        def once() -> None: ...


def test_a_periodic_task_takes_a_wait_and_no_time(app: App) -> None:
    @app.periodic(cron="@daily", expire_in=MINUTE)
    @app.task(name="daily")
    def daily(timestamp: int) -> None: ...

    @app.task(name="hourly")
    def hourly(timestamp: int) -> None: ...

    assert app.periodics[0].job(0).expire_in == 60
    with pytest.raises(InvalidPeriodic, match=r"got expire_at, and .* give expire_in"):
        app.periodic(cron="@hourly", expire_at=LATER)(hourly)


async def test_what_only_the_databases_clock_decides_it_refuses(
    app: App, brief: Task[..., Any], face: Face
) -> None:
    with pytest.raises(InvalidJob, match=r"expires .expire_in 60.0. before it may start"):
        await face.defer(brief.configure(schedule_at=LATER))
    assert app.job_manager.list_jobs().jobs == []


def test_a_job_by_hand_is_checked_as_well() -> None:
    with pytest.raises(InvalidSchedule, match=r"expire_in=5: .*expire_at beside it"):
        new_job(task_name="plain", args={}, expire_at=LATER, expire_in=5)
    with pytest.raises(InvalidSchedule, match="expire_in=inf"):
        new_job(task_name="plain", args={}, expire_in=float("inf"))
    with pytest.raises(InvalidSchedule, match="expire_in=nan"):
        new_job(task_name="plain", args={}, expire_in=float("nan"))
