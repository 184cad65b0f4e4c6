"""Times that a job can have: what Python and PostgreSQL both can hold, within what makes sense."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypedDict

from taskq.messages import short_repr

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

    Returns:
        The same moment, as JSON can write it.

    Raises:
        ValueError: Why it is none, to follow the value in a message.
    """
    if not isinstance(value, datetime):
        raise ValueError(
            "which is no datetime: give one with its time zone, as in datetime.now(UTC) + "
            "timedelta(hours=1)"
        )
    if (offset := value.utcoffset()) is None:
        raise ValueError(
            "which has no time zone: say which, as in datetime.now(UTC) + timedelta(hours=1)"
        )
    # PostgreSQL holds more. What another time zone moves out of these years, psycopg cannot read, and
    # a worker that claims such a job would claim nothing ever again.
    if not 1 < value.year < 9999:
        raise ValueError("which is not in the years 2 to 9998")
    if offset.microseconds or offset.seconds % 60:
        # Of local mean time, as in the zones of a city before its railway. JSON has no seconds in an offset,
        # and without them it would be another moment.
        return value.astimezone(UTC)
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
            why = f" ({short_repr(unknown[0])} is none of {units})" if unknown else f" ({error})"
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


def relative(time: datetime, now: datetime) -> str:
    """A time as people say it: ``3 min ago``, ``in 2 h``."""
    seconds = (time - now).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        if (count := int(abs(seconds) // size)) > 0:
            return f"in {count:,} {unit}" if seconds > 0 else f"{count:,} {unit} ago"
    return "now"


_WORDS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(
    "".join(rf"(?:(?P<{name}>\d+(?:\.\d+)?){unit})?" for unit, name in _WORDS.items())
)

# Python's years do not go back much further.
_LONGEST_AGO = timedelta(days=2_000 * 365)


def time_of(text: str) -> datetime:
    """Read a point in time that was typed: ISO 8601, with an offset from UTC.

    Raises:
        ValueError: It is none, in a sentence for the one who typed it.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{short_repr(text)} is no time: write it as 2030-01-31T18:00:00+01:00"
        ) from None
    if time.tzinfo is None:
        raise ValueError(
            f"{short_repr(text)} does not say in which time zone: write the offset from UTC after it, as in "
            f"{time.isoformat()}+01:00, or Z for UTC itself"
        )
    return time


def duration_of(text: str) -> timedelta:
    """Read a length of time that was typed: seconds, or numbers with units.

    Raises:
        ValueError: It is none, likewise.
    """
    match = _DURATION.fullmatch(_with_unit(text))
    if not text or match is None:
        raise ValueError(
            f"{short_repr(text)} is no length of time: write seconds, or w, d, h, m and s in this order, "
            "as in 90, 5m or 1h30m"
        )
    try:
        return timedelta(**{unit: float(n) for unit, n in match.groupdict("0").items()})
    except OverflowError:
        raise ValueError(f"{short_repr(text)} is longer than any calendar") from None


def past_of(text: str) -> datetime | timedelta:
    """Read a point in time that was typed, or how long ago it was.

    Raises:
        ValueError: It is neither, likewise.
    """
    if text and _DURATION.fullmatch(_with_unit(text)):
        ago = duration_of(text)
        if ago > _LONGEST_AGO:
            raise ValueError(f"{short_repr(text)} ago is before any calendar")
        return ago
    try:
        return time_of(text)
    except ValueError as error:
        raise ValueError(f"{error}; or how long ago, as in 1h30m") from None


def _with_unit(text: str) -> str:
    return f"{text}s" if text[-1:].isdecimal() else text
