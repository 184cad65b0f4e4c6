"""The engines that taskq makes for itself: how they connect, and what their sessions are.

A connection is opened with what ``session_settings`` says, belongs to one process and one event loop, and is
handed out only if it has not ended while it waited.
"""

import os
import select
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskq.database.bridges import bridge
from taskq.database.loop_pool import LoopPool
from taskq.database.session_settings import missing_settings, reads_times, startup_options
from taskq.exceptions import InvalidDatabase
from taskq.queries.connection import Driver
from taskq.queries.session import prepare_session
from taskq.unreadable import read_json

# One statement is one round trip; a transaction is begun where one is wanted.
_AUTOCOMMIT = "AUTOCOMMIT"

# By which a connection of these engines is known from a caller's own.
_OWN = "taskq_own"
OWN_OPTIONS: Mapping[str, Any] = {"isolation_level": _AUTOCOMMIT, _OWN: True}

# A server that goes without closing (its machine lost, a fail-over) is missed after half a minute. By
# themselves the kernel and the driver wait for a quarter of an hour to write to it, and for two hours
# to read from it.
_STEADY = {
    "connect_timeout": "10",  # seconds, as the next three
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",  # milliseconds
}

_OPTIONS: Mapping[str, Any] = {
    "isolation_level": _AUTOCOMMIT,
    "execution_options": {_OWN: True},
    # So there is nothing to roll back when a connection goes back to the pool.
    "skip_autocommit_rollback": True,
    # The one that was used last has everything planned; with a first call of each it takes milliseconds.
    "pool_use_lifo": True,
    "json_deserializer": read_json,
}

# Those of this process; see ``leave_to_parent``.
_opened: WeakSet[Driver] = WeakSet()
_of_the_parent: list[Driver] = []


def make_engine(url: URL, *, pooler: bool) -> Engine:
    """An engine for synchronous code, in autocommit.

    Args:
        url: Where it connects.
        pooler: Whether sessions are shared with others, so that nothing may be set or prepared on them.
    """
    engine = create_engine(_steady(url), **_OPTIONS)
    _watch(engine, pooler=pooler)
    return engine


def make_async_engine(url: URL, *, pooler: bool) -> AsyncEngine:
    """An engine for asynchronous code, in autocommit, in any number of event loops.

    Args:
        url: Where it connects.
        pooler: As for ``make_engine``.
    """
    engine = create_async_engine(_steady(url), poolclass=LoopPool, **_OPTIONS)
    _watch(engine.sync_engine, pooler=pooler)
    return engine


def is_own(connection: Connection) -> bool:
    """Whether a connection is one of a ``Database``'s own engines."""
    return bool(connection.get_execution_options().get(_OWN))


def has_ended(driver: Driver) -> bool:
    """Whether the server has ended a connection that waits in a pool; costs no round trip.

    A server says nothing to a session that asks nothing. What there is to read is the end, or the server's
    reason for it; a rare notice counts as well, and costs a new connection.
    """
    if driver.closed:
        return True
    file = driver.fileno()
    if not hasattr(select, "poll"):
        return bool(select.select([file], [], [], 0)[0])
    poll = select.poll()
    poll.register(file, select.POLLIN)
    return bool(poll.poll(0))


def leave_to_parent() -> None:
    """Let a child process go of the connections that its parent opened, and send the server nothing.

    Their sockets are shared. Each is replaced by nothing in the child, so that whatever still holds a
    connection there cannot read or write on it.
    """
    # Kept, as they would send something when they are deleted.
    _of_the_parent.extend(_opened)
    _opened.clear()
    nothing = os.open(os.devnull, os.O_RDWR)
    try:
        for driver in _of_the_parent:
            if not driver.closed:
                os.dup2(nothing, driver.fileno(), inheritable=False)
    finally:
        os.close(nothing)


def _steady(url: URL) -> URL:
    # What the user says, in the URL or by libpq's own variable, holds.
    unsaid = {
        name: value
        for name, value in _STEADY.items()
        if not (name == "connect_timeout" and os.environ.get("PGCONNECT_TIMEOUT"))
    }
    return url.set(query={**unsaid, **url.query})


def _watch(engine: Engine, *, pooler: bool) -> None:
    def connect(dialect: Dialect, record: object, args: list[Any], said: dict[str, Any]) -> Any:
        said["client_encoding"] = "UTF8"
        if pooler:
            said["prepare_threshold"] = None
        else:
            said["options"] = startup_options(said)
        connection = dialect.connect(*args, **said)
        try:
            _complete(connection, pooler=pooler)
        except BaseException:
            connection.close()
            raise
        _opened.add(_driver(connection))
        return connection

    def check_out(connection: Any, record: object, fairy: object) -> None:
        if has_ended(_driver(connection)):
            raise DisconnectionError("the server has ended the connection while it waited")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "checkout", check_out)


def _driver(connection: Any) -> Driver:
    # Behind SQLAlchemy's own wrapper of an async one.
    driver: Driver = getattr(connection, "driver_connection", connection)
    return driver


def _complete(connection: Any, *, pooler: bool) -> None:
    date_style = connection.info.parameter_status("DateStyle")
    if pooler:
        if not reads_times(date_style):
            raise InvalidDatabase(
                f"DateStyle is {date_style}, and taskq reads times in ISO alone; behind a pooler it sets "
                "nothing: run ALTER DATABASE name SET DateStyle = 'ISO', or do without PGDATESTYLE"
            )
    elif missing := missing_settings(connection.info.server_version, date_style):
        connection.autocommit = True
        prepare_session(bridge(_driver(connection)), missing)
