"""What tests do to the clock and to the attempts of jobs."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import only_row
from taskq_sql import testing

_querier = on_any(testing.Querier)


@dataclass(frozen=True, slots=True, kw_only=True)
class NextMoment:
    """When something comes due next.

    Attributes:
        server_time: What this transaction has for now.
        due_at: The moment, which may be over; None: there is none.
    """

    server_time: datetime
    due_at: datetime | None


def next_moment(connection: Connection) -> NextMoment:
    """When a job for later, a start that a rate allows, or an expiry comes due next."""
    row = only_row(_querier(connection).next_moment())
    return NextMoment(server_time=row.server_time, due_at=row.due_at)


def move_time(connection: Connection, by: timedelta) -> None:
    """Make all that is stored older; with less than nothing, younger."""
    _querier(connection).move_time(seconds=by.total_seconds())


def set_attempt(connection: Connection, job_id: int, attempt: int) -> None:
    """Have the next attempt of a job that waits be that one."""
    _querier(connection).set_attempt(used_up=attempt - 1, job_id=job_id)
