"""Periodic tasks: how far each was deferred."""

from collections.abc import Mapping
from datetime import UTC, datetime

from taskq.job import NewJob, to_json
from taskq.queries.connection import Connection, on_any
from taskq.unreadable import UnreadableTime
from taskq_sql import periodic

_querier = on_any(periodic.Querier)


def register_periodic(
    connection: Connection, schedules: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], int]:
    """Name the schedules of periods, by task and period; returns after which second their ticks count."""
    rows = _querier(connection).register_periodic(
        task_names=[task_name for task_name, _ in schedules],
        periodic_ids=[periodic_id for _, periodic_id in schedules],
        schedules=list(schedules.values()),
    )
    return {(row.task_name, row.periodic_id): row.counts_after for row in rows}


def defer_periodic(
    connection: Connection, new_job: NewJob, periodic_id: str, tick: int
) -> int | None:
    """Defer the job of a tick, unless another worker has; returns its id, None if it was not deferred."""
    ids = _querier(connection).defer_periodic(
        task_name=new_job.task_name,
        periodic_id=periodic_id,
        tick=tick,
        jobs=to_json([new_job], exclude_none=True).decode(),
    )
    return next(iter(ids), None) or None


def list_ticks(connection: Connection) -> dict[tuple[str, str], datetime]:
    """The last tick of each period that was deferred, by task and period."""
    return {
        (row.task_name, row.periodic_id): _tick(row.last_tick)
        for row in _querier(connection).list_ticks()
    }


def _tick(seconds: int) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        return UnreadableTime.of(str(seconds), str(error))
