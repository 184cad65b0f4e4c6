"""A connection of its own for one purpose, apart from the engine's pool.

A connection can go silent for ever without being closed, behind a firewall that forgets it or a proxy that
hangs. So each statement has a bound, after which its connection is given up for a new one.
"""

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Concatenate, Final, ParamSpec, TypeVar, cast

import psycopg
from sqlalchemy import PoolProxiedConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from taskq.database import executor as connections
from taskq.database.errors import is_outdated, translated
from taskq.escaping import get_logger
from taskq.exceptions import DatabaseUnavailable
from taskq.queries.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")

logger: Final = get_logger("taskq.database.connection")

# How long a server may take to let go of a statement that is given up: so much of its bound, at most so long.
_CANCEL_SHARE = 0.2
_CANCEL_WITHIN = 1.0  # seconds


class DedicatedConnection:
    """One connection in autocommit, opened when it is first needed, used by one caller at a time.

    It takes no place in the engine's pool, which is for the tasks, and waits for none. Its statements go
    straight to psycopg: on a worker that has slept, a claim is back 0.2 of a millisecond sooner. It may be
    used in any event loop, and after its first use only there.

    Args:
        engine: Makes the connection.
        purpose: What it is for, in logs.
        bound: Seconds after which a statement has been given up, and its connection if need be.
        pooler: Whether a pooler stands between, so that nothing may be prepared.
        prepare: Run on each new connection.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        purpose: str,
        *,
        bound: float = 15.0,
        pooler: bool = False,
        prepare: Callable[[Connection], None] | None = None,
    ) -> None:
        # Connects as the engine's own does, with its listeners.
        self._pool = engine.sync_engine.pool.recreate()
        self.purpose = purpose
        self.bound = bound
        self.pooler: bool = pooler
        self._prepare = prepare
        self._connection: psycopg.AsyncConnection | None = None
        self._busy = asyncio.Lock()
        self._limit: asyncio.Timeout | None = None

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """The connection, open and for one caller; dropped if the caller fails with it."""
        async with self._busy, self._dropped_on_error():
            if self._connection is None:
                async with self._bounded():
                    await self._connect()
            yield cast("psycopg.AsyncConnection", self._connection)

    async def ask(
        self,
        connection: psycopg.AsyncConnection,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation on the connection that ``connected`` gave."""
        async with self._bounded():
            return await self._complete(connection, operation, *args, **kwargs)

    async def close(self) -> None:
        """Close the connection, if it is open."""
        async with self._busy:
            await self._drop()

    @asynccontextmanager
    async def _dropped_on_error(self) -> AsyncIterator[None]:
        try:
            with translated():
                yield
        except BaseException as error:
            # Cut off in the middle, or of unknown state: a new one is cheaper than a doubt. An
            # error that the server answered with leaves the connection as it was, unless what is prepared on
            # it is what fails.
            cause = error.__cause__ if error.__cause__ is not None else error
            if not isinstance(cause, psycopg.Error) or self._is_lost() or is_outdated(cause):
                await self._drop()
            raise

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.bound - self._cancel_within) as self._limit:
                yield
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"no answer within {time.monotonic() - began:.1f} s, so the connection is given up"
            ) from error
        finally:
            self._limit = None

    @property
    def _cancel_within(self) -> float:
        return min(_CANCEL_WITHIN, _CANCEL_SHARE * self.bound)

    async def _connect(self) -> psycopg.AsyncConnection:
        connection = await self._new()
        try:
            await connections.adopt(connection, pooler=self.pooler)
            if self._prepare is not None:
                await self._complete(connection, self._prepare)
        except BaseException:
            await self._close(connection)
            raise
        self._connection = connection
        return connection

    async def _new(self) -> psycopg.AsyncConnection:
        # Cancelled itself, the driver leaves what has just connected to the garbage collector, and the
        # session stays open until that runs.
        connecting = asyncio.ensure_future(greenlet_spawn(self._pool.connect))
        try:
            await asyncio.wait([connecting])
        except asyncio.CancelledError:
            try:
                await asyncio.wait([connecting], timeout=self._cancel_within)
            finally:
                connecting.cancel()
                await asyncio.wait([connecting])
                if not connecting.cancelled() and connecting.exception() is None:
                    await self._close(_detached(connecting.result()))
            raise
        return _detached(connecting.result())

    def _is_lost(self) -> bool:
        return self._connection is None or self._connection.closed

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._close(connection)

    async def _close(self, connection: psycopg.AsyncConnection) -> None:
        try:
            async with asyncio.timeout(self._cancel_within):
                await connection.close()
        except Exception:
            logger.debug(
                "%s: closing failed",
                self.purpose,
                exc_info=True,
                extra={"action": "database_close_failed", "purpose": self.purpose},
            )

    async def _complete(
        self,
        connection: psycopg.AsyncConnection,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        # Cancelled itself, the driver asks the server to let go of the statement and then waits for
        # it: a server that hangs, or a line that leads nowhere, would keep a heartbeat from trying
        # another connection, and a worker from stopping.
        statement = asyncio.ensure_future(
            connections.run_adopted(connection, operation, *args, **kwargs)
        )
        try:
            await asyncio.wait([statement])
        except asyncio.CancelledError:
            try:
                # What older versions of libpq have for it blocks a thread.
                if psycopg.capabilities.has_cancel_safe():
                    with suppress(Exception):
                        async with asyncio.timeout(self._cancel_within):
                            await connection.cancel_safe(timeout=self._cancel_within)
                            await asyncio.wait([statement])
            finally:
                if not statement.done():
                    cut(connection)
                await asyncio.wait([statement])
                # What it came to is of no use any more, and asyncio would report an error that is not read.
                if not statement.cancelled():
                    statement.exception()
            raise
        return statement.result()


def _detached(pooled: PoolProxiedConnection) -> psycopg.AsyncConnection:
    connection = cast("psycopg.AsyncConnection", pooled.driver_connection)
    pooled.detach()
    return connection


def cut(connection: psycopg.Connection | psycopg.AsyncConnection) -> None:
    """End a connection that is being waited for, in any thread: the wait ends at once."""
    with (
        suppress(OSError, psycopg.Error),
        socket.socket(fileno=os.dup(connection.fileno())) as twin,
    ):
        twin.shutdown(socket.SHUT_RDWR)
