"""Times and durations as a command line says them."""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from taskq import queries
from taskq.database.database import Database

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_DURATION = re.compile(
    "".join(rf"(?:(?P<{name}>\d+(?:\.\d+)?){unit})?" for unit, name in _UNITS.items())
)

# Python's years do not go back much further.
_LONGEST_AGO = timedelta(days=2_000 * 365)


def read_time(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Read a point in time, in ISO 8601 with an offset from UTC; for an option's ``callback``."""
    if value is None:
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no time: write it as 2030-01-31T18:00:00+01:00"
        ) from None
    if time.tzinfo is None:
        raise click.BadParameter(
            f"{value!r} does not say in which time zone: write the offset from UTC after it, as in "
            f"{time.isoformat()}+01:00, or Z for UTC itself"
        )
    return time


def server_now(database: Database) -> datetime:
    """The time by the server's clock: this machine's may be wrong."""
    with database.engine.connect() as connection:
        return queries.session.get_server_time(connection)


def read_past(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | timedelta | None:
    """Read a point in time, or how long ago it was; for an option's ``callback``."""
    if value is not None and _DURATION.fullmatch(_with_unit(value)) and value:
        ago = read_duration(context, parameter, value)
        if ago is not None and ago > _LONGEST_AGO:
            raise click.BadParameter(f"{value!r} ago is before any calendar")
        return ago
    try:
        return read_time(context, parameter, value)
    except click.BadParameter as error:
        raise click.BadParameter(f"{error.message}; or how long ago, as in 1h30m") from None


def read_duration(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> timedelta | None:
    """Read a length of time, seconds or numbers with units; for an option's ``callback``."""
    if value is None:
        return None
    match = _DURATION.fullmatch(_with_unit(value))
    if not value or match is None:
        raise click.BadParameter(
            f"{value!r} is no length of time: write seconds, or w, d, h, m and s in this order, as in "
            "90, 5m or 1h30m"
        )
    try:
        return timedelta(**{unit: float(n) for unit, n in match.groupdict("0").items()})
    except OverflowError:
        raise click.BadParameter(f"{value!r} is longer than any calendar") from None


def duration_option(name: str, default: str, says: str) -> Callable[[Any], Any]:
    """An option that takes a length of time."""
    return click.option(
        name,
        metavar="DURATION",
        callback=read_duration,
        default=default,
        show_default=True,
        help=says,
    )


def _with_unit(value: str) -> str:
    return f"{value}s" if value[-1:].isdecimal() else value
