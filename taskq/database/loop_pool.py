"""A pool for one engine in many event loops, each of which has connections of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry, PoolProxiedConnection
from sqlalchemy.util import greenlet_spawn


class _Pool(AsyncAdaptedQueuePool):
    """The connections of one event loop."""

    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"

    _is_disposed = False

    def dispose(self) -> None:
        self._is_disposed = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        if self._is_disposed:
            record.close()
        else:
            super()._do_return_conn(record)


class _LoopConnections(NamedTuple):
    pool: _Pool
    until_loop_ends: AsyncGenerator[None, None]


class LoopPool(AsyncAdaptedQueuePool):
    """An asyncio pool that keeps the connections of each running event loop apart.

    A connection belongs to the event loop that it was opened in. When a loop ends, as ``asyncio.run`` ends
    it, its connections are closed; those of a loop that was closed in another way, when the next loop opens
    one. The bound on connections is that of an ordinary pool, for each loop.
    """

    # Otherwise it would log among taskq's own.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"

    def __init__(self, creator: Any, **options: Any) -> None:
        super().__init__(creator, **options)
        self._options = options
        self._loops: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}
        self._opening = threading.Lock()

    def connect(self) -> PoolProxiedConnection:
        """A connection of the running event loop, which goes back to that loop's own."""
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop) or self._open(loop)
        return found.pool.connect()

    def checkedin(self) -> int:
        """How many connections wait to be used, in all loops."""
        return sum(found.pool.checkedin() for found in list(self._loops.values()))

    def checkedout(self) -> int:
        """How many connections are in use, in all loops."""
        return sum(found.pool.checkedout() for found in list(self._loops.values()))

    def dispose(self) -> None:
        """Close the connections that wait; those of a loop that runs in another thread, in that loop.

        It may be called where no event loop runs.
        """
        here = asyncio._get_running_loop()
        with self._opening:
            loops, self._loops = self._loops, {}
        for loop, found in loops.items():
            if loop is here or not loop.is_running():
                _close(found.pool)
            else:
                with suppress(RuntimeError):  # it has ended meanwhile, and has closed them
                    loop.call_soon_threadsafe(_close, found.pool)

    def dispose_loop(self) -> None:
        """Close the connections of the running event loop that wait."""
        with self._opening:
            found = self._loops.pop(asyncio.get_running_loop(), None)
        if found is not None:
            _close(found.pool)

    def _invalidate(
        self,
        connection: PoolProxiedConnection,
        exception: BaseException | None = None,
        _checkin: bool = True,
    ) -> None:
        # SQLAlchemy asks the engine's pool; what else is to be opened anew is in the connection's own.
        connection._pool._invalidate(connection, exception, _checkin)

    def _open(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        shared = {"dialect": self._dialect, "_dispatch": self.dispatch}
        pool = _Pool(self._creator, **{**self._options, **shared})
        opened = _LoopConnections(pool, self._until_loop_ends(loop, pool))
        # The loop learns of a generator that is begun in it, and closes it when it ends.
        with suppress(StopIteration):
            opened.until_loop_ends.__anext__().send(None)
        with self._opening:
            ended = [other for other in self._loops if other.is_closed()]
            left = [self._loops.pop(other) for other in ended]
            self._loops[loop] = opened
        for other in left:
            _close(other.pool)
        return opened

    async def _until_loop_ends(
        self, loop: asyncio.AbstractEventLoop, pool: _Pool
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            with self._opening:
                # After ``dispose`` this loop may have others by now.
                if (found := self._loops.get(loop)) and found.pool is pool:
                    del self._loops[loop]
            _close(pool)


def _close(pool: _Pool) -> None:
    # psycopg waits for nothing when it closes a connection. So the first step is the last one, and there
    # need not be an event loop.
    closing = greenlet_spawn(pool.dispose)
    with suppress(StopIteration):
        closing.send(None)
    closing.close()
