"""The ticks of an expression beside those that a clock on the wall shows, minute for minute."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from taskq.cron import Cron

CHANGES = {
    "Australia/Lord_Howe": ["2026-04-05", "2026-10-04"],  # by half an hour
    "Pacific/Chatham": ["2026-04-05", "2026-09-27"],  # at 2:45, in a zone of 45 minutes
    "Asia/Kathmandu": ["1986-01-01", "2026-03-29"],  # by a quarter of an hour, once
    "Europe/Berlin": ["2026-03-29", "2026-10-25"],
    "America/New_York": ["2026-03-08", "2026-11-01"],
    "America/St_Johns": [
        "2006-04-02",
        "2026-03-08",
        "2026-11-01",
    ],  # once at a minute past midnight
    "Africa/Casablanca": ["2026-02-15", "2026-03-22"],
    "Asia/Tehran": ["2021-09-22", "2022-03-22"],  # at midnight
    "Pacific/Apia": ["2011-12-29", "2011-09-24"],  # one without a whole day
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],  # by two hours
    "UTC": ["2026-03-29"],
}

# What an expression means, said a second time; and whether its times are fixed.
EXPRESSIONS: dict[str, tuple[Callable[[datetime], bool], bool]] = {
    "* * * * *": (lambda wall: True, False),
    "*/15 * * * *": (lambda wall: wall.minute % 15 == 0, False),
    "0 * * * *": (lambda wall: wall.minute == 0, False),
    "50 * * * *": (lambda wall: wall.minute == 50, False),
    "15 */2 * * *": (lambda wall: wall.minute == 15 and wall.hour % 2 == 0, False),
    "*/30 2 * * *": (lambda wall: wall.minute in {0, 30} and wall.hour == 2, False),
    "10 * * * SUN": (lambda wall: wall.minute == 10 and wall.weekday() == 6, False),
    "30 2 * * *": (lambda wall: (wall.hour, wall.minute) == (2, 30), True),
    "10,40 1-3 * * *": (lambda wall: wall.minute in {10, 40} and wall.hour in {1, 2, 3}, True),
    "0 0 * * *": (lambda wall: (wall.hour, wall.minute) == (0, 0), True),
    "15 2 * * SUN": (
        lambda wall: (wall.hour, wall.minute, wall.weekday()) == (2, 15, 6),
        True,
    ),
    "0 12 * * MON-FRI": (
        lambda wall: (wall.hour, wall.minute) == (12, 0) and wall.weekday() < 5,
        True,
    ),
}

DAYS = [(zone, day) for zone, days in CHANGES.items() for day in days]


def seen_on_the_wall(
    zone: ZoneInfo, start: int, end: int, matches: Callable[[datetime], bool], *, fixed: bool
) -> Iterator[int]:
    """Look at the clock once in each minute."""
    reached = datetime.fromtimestamp(start - 60, zone).replace(tzinfo=None)
    for minute in range(start, end + 1, 60):
        wall = datetime.fromtimestamp(minute, zone).replace(tzinfo=None)
        if not fixed:
            if matches(wall):
                yield minute
            continue
        # What it has shown for the first time, or leapt over.
        new = False
        while reached < wall:
            reached += timedelta(minutes=1)
            new = new or matches(reached)
        if new:
            yield minute


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize(("zone", "day"), DAYS)
def test_the_ticks_around_a_change_are_those_that_the_clock_on_the_wall_shows(
    zone: str, day: str, expression: str
) -> None:
    wall = ZoneInfo(zone)
    matches, fixed = EXPRESSIONS[expression]
    start = int(datetime.fromisoformat(day).replace(tzinfo=wall).timestamp()) // 60 * 60 - 86400
    end = start + 4 * 86400
    expected = list(seen_on_the_wall(wall, start, end, matches, fixed=fixed))
    cron = Cron(expression, wall)
    assert cron.between(start - 1, end) == expected
    # From whenever one looks.
    for look in range(start, end, 7 * 3600 + 1320):
        until = look + 30 * 3600
        ahead = [tick for tick in expected if look < tick <= until]
        assert [tick for tick in cron.between(look, until) if tick <= end] == ahead


def test_an_hourly_tick_is_not_lost_where_the_change_is_half_an_hour() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    start = datetime(2026, 10, 4, 1, tzinfo=zone).timestamp()
    ticks = Cron("50 * * * *", zone).between(start, start + 3 * 3600)
    assert [datetime.fromtimestamp(tick, zone).strftime("%H:%M") for tick in ticks] == [
        "01:50",
        "02:50",
        "03:50",
    ]
