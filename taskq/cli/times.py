"""Times and durations as a command line says them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from taskq import queries
from taskq.database.database import Database
from taskq.times import duration_of, past_of, time_of

T = TypeVar("T")


def read_time(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | None:
    """Read a point in time, in ISO 8601 with an offset from UTC; for an option's ``callback``."""
    return _read(time_of, value)


def server_now(database: Database) -> datetime:
    """The time by the server's clock: this machine's may be wrong."""
    with database.engine.connect() as connection:
        return queries.session.get_server_time(connection)


def read_past(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> datetime | timedelta | None:
    """Read a point in time, or how long ago it was; for an option's ``callback``."""
    return _read(past_of, value)


def read_duration(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> timedelta | None:
    """Read a length of time, seconds or numbers with units; for an option's ``callback``."""
    return _read(duration_of, value)


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


def _read(read: Callable[[str], T], value: str | None) -> T | None:
    if value is None:
        return None
    try:
        return read(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
