"""The workers that are registered."""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version

from taskq.queries.connection import Connection, on_any
from taskq.queries.rows import array_of, only_row
from taskq_sql import workers

_querier = on_any(workers.Querier)

_VERSION = version("taskq-sql")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerState:
    """A worker that is registered.

    Attributes:
        id: Its id.
        name: Its name, which several may share.
        queues: The queues that it serves; None: all.
        concurrency: How many jobs it runs at once.
        host: The machine that it runs on; None: not known.
        version: Its version of taskq; None: not known.
        stopping: Whether it was asked to stop.
        started_at: When it registered.
        last_heartbeat: When it last said that it is alive.
        seconds_since_heartbeat: How long ago that is, by the server's clock.
        doing: How many jobs it has in hand.
    """

    id: int
    name: str
    queues: Sequence[str] | None
    concurrency: int
    host: str | None
    version: str | None
    stopping: bool
    started_at: datetime
    last_heartbeat: datetime
    seconds_since_heartbeat: float
    doing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredWorker:
    """How a worker is known in the database.

    Attributes:
        id: Its id, which comes only once.
        incarnation: Which database that is; one of the same name that was made anew is another.
        last_heartbeat: The latest heartbeat that the worker knows to be written.
        server_time: The server's clock at that moment, in seconds since 1970.
    """

    id: int
    incarnation: str
    last_heartbeat: datetime
    server_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A worker that is alive: its queues (None: all), its last heartbeat, and how long ago that is."""

    queues: frozenset[str] | None
    last_heartbeat: datetime
    silent_for: float


def register_worker(
    connection: Connection, name: str, queues: Sequence[str] | None, concurrency: int
) -> RegisteredWorker:
    """Register a worker, under a new id."""
    row = only_row(
        _querier(connection).register_worker(
            name=name,
            queue_names=array_of(queues),
            concurrency=concurrency,
            host=platform.node().replace("\0", "") or None,
            version=_VERSION,
        )
    )
    return RegisteredWorker(
        id=row.id,
        incarnation=row.incarnation,
        last_heartbeat=row.last_heartbeat,
        server_time=row.server_time,
    )


def beat(
    connection: Connection, registration: RegisteredWorker, *, stopping: bool
) -> RegisteredWorker | None:
    """Say that a worker is alive; None if it is not registered any more, and says nothing."""
    row = _querier(connection).beat_worker(
        id=registration.id,
        incarnation=registration.incarnation,
        last_heartbeat=registration.last_heartbeat,
        stopping=stopping,
    )
    if row is None:
        return None
    return replace(registration, last_heartbeat=row.last_heartbeat, server_time=row.server_time)


def is_registered(connection: Connection, registration: RegisteredWorker) -> bool:
    """Whether a worker is registered where a connection leads to."""
    return bool(
        _querier(connection).is_worker_registered(
            id=registration.id,
            incarnation=registration.incarnation,
            last_heartbeat=registration.last_heartbeat,
        )
    )


def list_peers(connection: Connection, stalled_after: float) -> dict[int, Peer]:
    """The workers that are alive, by their ids."""
    return {
        row.id: Peer(
            queues=None if row.serves_all else frozenset(row.queue_names),
            last_heartbeat=row.last_heartbeat,
            silent_for=row.silent_for,
        )
        for row in _querier(connection).list_peers(stalled_after=stalled_after)
    }


def disbelieve_heartbeat(connection: Connection, worker_id: int, last_heartbeat: datetime) -> None:
    """Take a worker for dead, if this is still its last heartbeat."""
    _querier(connection).disbelieve_heartbeat(id=worker_id, last_heartbeat=last_heartbeat)


def unregister_worker(connection: Connection, worker_id: int) -> None:
    """Remove a worker that leaves."""
    _querier(connection).unregister_worker(id=worker_id)


def list_workers(connection: Connection) -> list[WorkerState]:
    """The workers that are registered."""
    return [
        WorkerState(
            id=row.id,
            name=row.name,
            queues=None if row.serves_all else row.queue_names,
            concurrency=row.concurrency,
            host=row.host,
            version=row.version,
            stopping=row.stopping,
            started_at=row.started_at,
            last_heartbeat=row.last_heartbeat,
            seconds_since_heartbeat=row.seconds_since_heartbeat,
            doing=row.doing,
        )
        for row in _querier(connection).list_workers()
    ]
