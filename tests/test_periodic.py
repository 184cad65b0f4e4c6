"""Periodic tasks: the calendar, and how they are declared."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App, Blueprint, JobContext
from taskq.exceptions import InvalidArguments, InvalidJob, InvalidOption, InvalidPeriodic
from taskq.periodic import Periodic

# The calendar


def period(cron: str, timezone: str | tzinfo = "UTC") -> Periodic:
    blueprint = Blueprint()

    @blueprint.periodic(cron=cron, timezone=timezone)
    @blueprint.task
    def report(timestamp: int) -> None: ...

    [declared] = blueprint.periodics
    return declared


def seconds(moment: str, timezone: str = "UTC") -> float:
    """A moment by the clock on the wall, in seconds since 1970."""
    return datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(timezone)).timestamp()


def ticks(cron: str, timezone: str, day: str) -> list[str]:
    """The ticks of a day and the night after it, by the clock on the wall, with its offset."""
    start = seconds(day, timezone)
    found = period(cron, timezone).between(start - 1, start + 30 * 3600)
    return [
        datetime.fromtimestamp(tick, ZoneInfo(timezone)).strftime("%d %H:%M:%S%z") for tick in found
    ]


@pytest.mark.parametrize(
    ("cron", "after", "following"),
    [
        ("*/5 * * * *", "2026-01-01T12:03:20", "2026-01-01T12:05:00"),
        ("*/5 * * * *", "2026-01-01T12:05:00", "2026-01-01T12:10:00"),
        ("*/5 * * * *", "2026-01-01T12:04:59.9", "2026-01-01T12:05:00"),
        ("*/5 * * * *", "2026-01-01T12:05:00.1", "2026-01-01T12:10:00"),
        # The sixth is for seconds.
        ("* * * * * */20", "2026-01-01T12:00:20", "2026-01-01T12:00:40"),
        ("0 12 * * * 30", "2026-01-01T12:00:00", "2026-01-01T12:00:30"),
        ("@hourly", "2026-01-01T12:00:00", "2026-01-01T13:00:00"),
        ("@daily", "2026-01-01T12:00:00", "2026-01-02T00:00:00"),
        ("@weekly", "2026-01-01T12:00:00", "2026-01-04T00:00:00"),
        ("@monthly", "2026-01-01T12:00:00", "2026-02-01T00:00:00"),
        ("@yearly", "2026-01-01T12:00:00", "2027-01-01T00:00:00"),
        ("0 9 * * MON-FRI", "2026-01-02T10:00:00", "2026-01-05T09:00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_next_tick_is_the_first_one_after_a_time(cron: str, after: str, following: str) -> None:
    assert period(cron).next_after(seconds(after)) == seconds(following)


def test_an_expression_is_meant_in_its_time_zone() -> None:
    noon = period("0 12 * * *", "Asia/Kolkata").next_after(seconds("2026-01-01T00:00:00"))
    assert noon == seconds("2026-01-01T06:30:00")


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        # A time that the night does not have is moved to its end; it is not lost.
        ("30 2 * * *", ["29 03:00:00+0200", "30 02:30:00+0200"]),
        ("0 3 * * *", ["29 03:00:00+0200", "30 03:00:00+0200"]),
        # With an hour that is any, the clock on the wall is followed.
        ("30 * * * *", ["29 00:30:00+0100", "29 01:30:00+0100", "29 03:30:00+0200"]),
        # Six fields follow the clock on the wall too.
        ("30 2 * * * 0", ["30 02:30:00+0200"]),
    ],
)
def test_the_hour_that_a_spring_night_leaves_out(cron: str, expected: list[str]) -> None:
    assert ticks(cron, "Europe/Berlin", "2026-03-29T00:00:00")[: len(expected)] == expected


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        # A time that the night has twice comes once.
        ("30 2 * * *", ["25 02:30:00+0200", "26 02:30:00+0100"]),
        # With an hour that is any, the clock on the wall is followed.
        ("30 * * * *", ["25 00:30:00+0200", "25 01:30:00+0200", "25 02:30:00+0200"]),
        ("30 */2 * * *", ["25 00:30:00+0200", "25 02:30:00+0200", "25 02:30:00+0100"]),
        # Six fields follow the clock on the wall too.
        ("30 2 * * * 0", ["25 02:30:00+0200", "25 02:30:00+0100", "26 02:30:00+0100"]),
    ],
)
def test_the_hour_that_an_autumn_night_has_twice(cron: str, expected: list[str]) -> None:
    assert ticks(cron, "Europe/Berlin", "2026-10-25T00:00:00")[: len(expected)] == expected


CRONS = ["*/20 * * * *", "30 2 * * *", "30 1,2,3 * * *", "15 1-4 * * *", "*/30 2 * * *"]
CRONS += ["0 */2 * * *", "30 2 * * * 0", "45 1 * * SUN", "0 2 * * *"]


@pytest.mark.parametrize(
    ("zone", "night"),
    [
        ("UTC", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29"),
        ("Europe/Berlin", "2026-10-25"),
        ("America/St_Johns", "2026-03-08"),
        ("America/St_Johns", "2026-11-01"),
        # By half an hour.
        ("Australia/Lord_Howe", "2026-10-04"),
        ("Australia/Lord_Howe", "2026-04-05"),
        # By a whole day.
        ("Pacific/Apia", "2011-12-29"),
    ],
)
def test_whenever_a_worker_looks_it_sees_the_same_ticks(zone: str, night: str) -> None:
    start = int(seconds(night, zone))
    end = start + 30 * 3600
    for cron in CRONS:
        declared = period(cron, zone)
        whole = declared.between(start - 1, end)
        assert whole == sorted(set(whole)), cron
        for look in range(start, start + 5 * 3600, 600):
            ahead = [tick for tick in whole if tick > look]
            assert declared.between(look, end) == ahead, cron
            following = declared.next_after(look)
            assert following == ahead[0] if ahead else following > end, cron


# Declaring


def test_a_tick_is_a_job_with_its_time_and_the_options() -> None:
    app = App("postgresql://")

    @app.periodic(cron="0 * * * *", queue="night", lock="report", task_kwargs={"kind": "short"})
    @app.task(name="report", pass_context=True, priority=2)
    def report(context: JobContext, timestamp: int, kind: str) -> None: ...

    [declared] = app.periodics
    assert declared.job(7).model_dump(exclude_none=True) == {
        "task_name": "report",
        "args": {"timestamp": 7, "kind": "short"},
        "queue_name": "night",
        "priority": 2,
        "lock": "report",
    }


def takes_timestamp(timestamp: int) -> None: ...
def takes_nothing() -> None: ...
def takes_more(timestamp: int, kind: str) -> None: ...
def takes_a_list(timestamp: list[int]) -> None: ...


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cron": "* * * *"}, "cron='.*': Wrong number of fields; give five fields as in"),
        ({"cron": "60 * * * *"}, "cron='60 .*': Bad minute"),
        ({"cron": "0 0 30 2 *"}, "cron='0 0 30 2 .*': Bad day-of-month"),
        ({"cron": "@reboot"}, "cron='@reboot'.* or one of @yearly,"),
        ({"cron": "0 0 0 * * * *"}, "cron='0 0 0 .*': Wrong number of fields"),
        ({"cron": "* * * * * 60"}, "cron='.* 60': Bad second"),
        ({"cron": ""}, "cron=''"),
        ({"cron": 5}, "cron=5"),
        ({"cron": None}, "cron=None"),
        ({"timezone": "Mars/Olympus"}, "timezone='Mars/Olympus', which is not known here"),
        ({"timezone": "../etc/passwd"}, "timezone='../etc/passwd'"),
        ({"timezone": ""}, "timezone=''"),
        ({"timezone": 5}, "timezone=5"),
        ({"periodic_id": "a\0b"}, r"periodic_id='a\\x00b'.*NUL"),
        ({"periodic_id": "x" * 501}, "periodic_id='xxx"),
        ({"periodic_id": None}, "periodic_id=None"),
        ({"connection": object()}, "got connection, and a periodic task takes none"),
        ({"on_conflict": "raise"}, "got on_conflict, and a periodic task takes none"),
    ],
)
def test_a_period_that_no_clock_can_follow_is_refused_when_declared(
    options: dict[str, Any], message: str
) -> None:
    blueprint = Blueprint()
    task = blueprint.task(name="report")(takes_timestamp)
    with pytest.raises(InvalidPeriodic, match=f"task 'report' got .*{message}|{message}"):
        blueprint.periodic(**{"cron": "* * * * *"} | options)(task)
    assert blueprint.periodics == []


@given(st.text())
def test_any_text_is_an_expression_or_refused(cron: str) -> None:
    blueprint = Blueprint()
    task = blueprint.task(takes_timestamp)
    with suppress(InvalidPeriodic):
        blueprint.periodic(cron=cron)(task)
        assert blueprint.periodics[0].next_after(0) > 0


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (takes_nothing, {}, InvalidPeriodic, "takes no timestamp: .*timestamp: int"),
        (takes_more, {}, InvalidArguments, "argument 'kind' is missing"),
        (takes_a_list, {}, InvalidArguments, "argument 'timestamp' got 0: .* valid list"),
        (takes_timestamp, {"priority": "high"}, InvalidJob, "priority='high'"),
        (takes_timestamp, {"priorty": 1}, InvalidJob, "'priorty': did you mean 'priority'"),
    ],
)
def test_a_task_that_no_tick_could_defer_is_refused_when_declared(
    function: Callable[..., None], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    blueprint = Blueprint()
    task = blueprint.task(name="report")(function)
    with pytest.raises(error, match=f"task 'report'.* {message}"):
        blueprint.periodic(cron="* * * * *", **options)(task)
    assert blueprint.periodics == []


def test_a_period_is_declared_above_the_task_and_where_it_is() -> None:
    app, blueprint = App("postgresql://"), Blueprint()
    function: Any = takes_timestamp
    with pytest.raises(InvalidPeriodic, match=r"takes_timestamp.* is no task: write @app.periodic"):
        app.task(app.periodic(cron="* * * * *")(function))
    task = blueprint.task(name="report")(takes_timestamp)
    with pytest.raises(InvalidPeriodic, match="task 'report' is declared elsewhere"):
        app.periodic(cron="* * * * *")(task)
    assert app.periodics == []
    app.add_tasks_from(blueprint, namespace="shop")
    app.periodic(cron="* * * * *")(task)
    assert [declared.task.name for declared in app.periodics] == ["shop:report"]


def test_several_periods_of_a_task_need_an_id_each() -> None:
    blueprint = Blueprint()
    task = blueprint.task(name="report")(takes_timestamp)
    blueprint.periodic(cron="0 8 * * *")(task)
    blueprint.periodic(cron="0 9 * * *", periodic_id="late")(task)
    with pytest.raises(InvalidPeriodic, match="'report' has a period with periodic_id='late'"):
        blueprint.periodic(cron="0 10 * * *", periodic_id="late")(task)
    assert [known.periodic_id for known in blueprint.periodics] == ["", "late"]


@pytest.mark.parametrize("max_delay", [0, -1, 0.5, float("nan"), 1e12, "long", None])
def test_a_delay_that_makes_no_sense_is_refused(max_delay: Any) -> None:
    with pytest.raises(InvalidOption, match=r"max_delay=.*: give seconds, from 1 to "):
        App("postgresql://", periodic_defaults={"max_delay": max_delay})


def test_a_default_that_does_not_exist_is_refused() -> None:
    defaults: Any = {"max_dely": 5}
    with pytest.raises(InvalidOption, match="periodic_defaults has no 'max_dely'"):
        App("postgresql://", periodic_defaults=defaults)


def test_by_hand_it_is_deferred_with_the_time_of_that_moment() -> None:
    blueprint = Blueprint()

    @blueprint.periodic(cron="0 4 * * *")
    @blueprint.task(name="report")
    def report(timestamp: int, kind: str = "short") -> None: ...

    @blueprint.periodic(cron="0 4 * * *")
    @blueprint.task(name="careful")
    def careful(timestamp: int = -1) -> None: ...

    before = int(datetime.now(UTC).timestamp())
    prepared = report.configure().prepare(kind="long").args
    assert before <= prepared.pop("timestamp") <= datetime.now(UTC).timestamp()
    assert prepared == {"kind": "long"}
    assert report.configure(task_kwargs={"timestamp": 7}).prepare().args == {"timestamp": 7}
    assert careful.configure().prepare().args == {}, "a default is the function's own"
    with pytest.raises(InvalidArguments, match=r"it takes timestamp \(optional\), kind \(opt"):
        report.configure().prepare(kynd="long")  # type: ignore[call-arg]
    with pytest.raises(InvalidArguments, match="argument 'timestamp' is missing"):
        report.arguments.load({"kind": "deferred from SQL, where it is not added"})


class Nameless(tzinfo):
    """A zone whose text has its address."""

    def utcoffset(self, when: datetime | None, /) -> timedelta:
        return timedelta(hours=1)

    def dst(self, when: datetime | None, /) -> timedelta:
        return timedelta()

    def tzname(self, when: datetime | None, /) -> None: ...


def test_a_schedule_is_told_by_its_expression_and_its_zone() -> None:
    def schedule(cron: str, timezone: str | tzinfo = "UTC") -> str:
        return period(cron, timezone).schedule

    assert schedule("0  4 * * *", "Europe/Berlin") == "0 4 * * * Europe/Berlin"
    assert schedule("@hourly") == schedule("0 * * * *")
    assert (
        len({schedule("0 4 * * *", zone) for zone in ("UTC", "Europe/Berlin", "Asia/Tokyo")}) == 3
    )
    first, second = Nameless(), Nameless()
    assert schedule("0 4 * * *", first) == schedule("0 4 * * *", second), "as in two processes"
    named = timezone(timedelta(hours=1), "a\0b\udfff漢")
    assert schedule("0 4 * * *", named) == r"0 4 * * * a\x00b\udfff\u6f22"
