"""Times that a job can have: what Python and PostgreSQL both can hold, within what makes sense."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TypedDict

LONGEST_WAIT = timedelta(days=36_500)


class TimeDeltaParams(TypedDict, total=False):
    """The keywords of ``timedelta``, any number of which make a wait."""

    weeks: float
    days: float
    hours: float
    minutes: float
    seconds: float
    milliseconds: float
    microseconds: float


def read_moment(value: object) -> datetime:
    """Check a moment.

    Raises:
        ValueError: Why it is none, to follow the value in a message.
    """
    if not isinstance(value, datetime):
        raise ValueError(
            "which is no datetime: give one with its time zone, as in datetime.now(UTC) + "
            "timedelta(hours=1)"
        )
    if value.utcoffset() is None:
        raise ValueError(
            "which has no time zone: say which, as in datetime.now(UTC) + timedelta(hours=1)"
        )
    # PostgreSQL holds more. What another time zone moves out of these years, psycopg cannot read, and
    # a worker that claims such a job would claim nothing ever again.
    if not 1 < value.year < 9999:
        raise ValueError("which is not in the years 2 to 9998")
    return value


def read_wait(value: timedelta | TimeDeltaParams) -> timedelta:
    """Check a wait, and make a ``timedelta`` of its keywords.

    Raises:
        ValueError: Why it is none, to follow the value in a message.
    """
    try:
        wait = value if isinstance(value, timedelta) else timedelta(**value)
    except (TypeError, ValueError, OverflowError) as error:
        why = ""
        if isinstance(value, Mapping):
            unknown = [unit for unit in value if unit not in TimeDeltaParams.__annotations__]
            units = ", ".join(TimeDeltaParams.__annotations__)
            why = f" ({unknown[0]!r} is none of {units})" if unknown else f" ({error})"
        raise ValueError(
            f"which is no wait{why}: give a timedelta, or its keywords as in {{'minutes': 5}}"
        ) from None
    if abs(wait) > LONGEST_WAIT:
        raise ValueError("which is more than a hundred years")
    return wait


_UNITS = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))  # seconds


def brief(seconds: float) -> str:
    """A length of time in its largest unit and the one below: 90 seconds are ``1m30s``."""
    rest = max(0, round(seconds))
    for (size, unit), (below, unit_below) in pairwise(_UNITS):
        if rest >= size:
            count, rest = divmod(rest, size)
            return (
                f"{count}{unit}{rest // below}{unit_below}" if rest >= below else f"{count}{unit}"
            )
    return f"{rest}s"
