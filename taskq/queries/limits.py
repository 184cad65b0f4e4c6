"""Limits: what is said of them, and how full they are."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from taskq.limits import Limit, LimitFigures, LimitState, split_key
from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import moment_of
from taskq_sql import limits

_querier = on_any(limits.Querier)

# What taskq_limit_state says of a limit without a concurrency or a rate.
_ANY_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """What an app has declared otherwise than another one, or an earlier version of it, did.

    Attributes:
        what: What was declared, as in "limit 'tenant'".
        said: What is said of it now.
        former: What was said before.
        former_by: The worker whose app did; None: not known.
    """

    what: str
    said: str
    former: str
    former_by: str | None


def declare_limits(
    connection: Connection,
    limits: Iterable[Limit],
    queue_limits: Mapping[str, Limit],
    *,
    declared_by: str,
) -> list[LimitChange]:
    """Write what an app says of its limits, and have claims look at those that have changed.

    Args:
        connection: The connection.
        limits: The limits.
        queue_limits: The limit of each queue that has one.
        declared_by: The name of the worker.

    Returns:
        What was otherwise before.
    """
    declared = {limit.name: limit.figures for limit in limits}
    if not declared:
        return []
    querier = _querier(connection)
    rows = list(
        querier.declare_limits(
            limits=json.dumps(
                [{"limit_key": name} | asdict(figures) for name, figures in declared.items()]
            ),
            declared_by=declared_by,
        )
    )
    queues = [
        {"queue_name": queue, "limit_key": limit.name} for queue, limit in queue_limits.items()
    ]
    queue_rows = list(
        querier.declare_queue_limits(queue_limits=json.dumps(queues), declared_by=declared_by)
        if queues
        else ()
    )
    open_limits(connection, [row.limit_key for row in rows] + [row.limit_key for row in queue_rows])
    return [
        LimitChange(
            what=f"limit {row.limit_key!r}",
            said=str(declared[row.limit_key]),
            former=str(LimitFigures(row.concurrency, row.rate, row.per, row.burst)),
            former_by=row.declared_by,
        )
        for row in rows
        if row.has_changed
    ] + [
        LimitChange(
            what=f"the limit of queue {row.queue_name!r}",
            said=row.limit_key,
            former=row.former_limit_key,
            former_by=row.declared_by,
        )
        for row in queue_rows
        if row.former_limit_key is not None
    ]


def set_limit(
    connection: Connection,
    limit_key: str,
    figures: LimitFigures,
    *,
    declared_by: str | None,
    is_known: bool,
) -> bool:
    """Write what an operator says of a limit, or of one key of it; False: no app has declared it.

    Args:
        connection: The connection.
        limit_key: The limit, with its key if it is about one.
        figures: What it allows; None: what it did.
        declared_by: Who says so.
        is_known: Whether the caller knows that there is such a limit.
    """
    return bool(
        _querier(connection).set_limit(
            limit_key=limit_key,
            concurrency=figures.concurrency,
            rate=figures.rate,
            per=figures.per,
            burst=figures.burst,
            declared_by=declared_by,
            is_known=is_known,
        )
    )


def unset_limit(connection: Connection, limit_key: str) -> bool:
    """Take back what an operator has said; False: nothing."""
    return bool(_querier(connection).unset_limit(limit_key=limit_key))


def unset_queue_limit(connection: Connection, queue: str) -> str | None:
    """Have the jobs of a queue count in no limit; returns in which they did."""
    return _querier(connection).unset_queue_limit(queue_name=queue)


def open_limits(connection: Connection, names: Iterable[str]) -> None:
    """Have claims look at limits again, and at the queues that count in them."""
    if wanted := sorted(set(names)):
        _querier(connection).open_limits(names=wanted)


def list_limit_names(connection: Connection) -> list[str]:
    """The limits of which an app or an operator has said anything."""
    return list(_querier(connection).list_limit_names())


def list_limits(connection: Connection, name: str | None, max_limits: int) -> list[LimitState]:
    """What limits allow and how full they are.

    Args:
        connection: The connection.
        name: One limit; None: all.
        max_limits: How many keys at most.
    """
    return [
        _state_of(row) for row in _querier(connection).list_limits(name=name, max_limits=max_limits)
    ]


def _state_of(row: limits.ListLimitsRow) -> LimitState:
    name, key = split_key(row.limit_key)
    figures = LimitFigures(
        row.concurrency or None, row.rate or None, row.per or None, row.burst or None
    )
    return LimitState(
        name=name,
        key=key,
        figures=figures if row.is_known else None,
        by_operator=row.by_operator,
        declared_by=row.declared_by or None,
        queues=tuple(row.queue_names),
        running=row.running,
        room=None if row.room >= _ANY_NUMBER else row.room,
        waiting=row.waiting,
        next_at=moment_of(row.next_at) if row.next_at else None,
    )
