"""A pool for one engine in many event loops, each of which has connections of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy.pool import AsyncAdaptedQueuePool, ConnectionPoolEntry
from sqlalchemy.util import greenlet_spawn


class _LoopConnections(NamedTuple):
    pool: AsyncAdaptedQueuePool
    until_loop_ends: AsyncGenerator[None, None]


class LoopPool(AsyncAdaptedQueuePool):
    """An asyncio pool that keeps the connections of each running event loop apart.

    A connection belongs to the event loop that it was opened in. When a loop ends, as ``asyncio.run`` ends
    it, its connections are closed. The bound on connections is that of an ordinary pool, for each loop.
    """

    # Otherwise it would log among taskq's own.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.AsyncAdaptedQueuePool"

    def __init__(self, creator: Any, **options: Any) -> None:
        super().__init__(creator, **options)
        self._options = options
        self._loops: dict[asyncio.AbstractEventLoop, _LoopConnections] = {}
        self._opening = threading.Lock()

    @property
    def is_used(self) -> bool:
        """Whether an event loop has connections here."""
        return bool(self._loops)

    def checkedin(self) -> int:
        """How many connections wait to be used, in all loops."""
        return sum(found.pool.checkedin() for found in list(self._loops.values()))

    def checkedout(self) -> int:
        """How many connections are in use, in all loops."""
        return sum(found.pool.checkedout() for found in list(self._loops.values()))

    def dispose(self) -> None:
        """Close the connections that wait; those of a loop that runs in another thread, in that loop."""
        here = asyncio.get_running_loop()
        with self._opening:
            loops, self._loops = self._loops, {}
        for loop, found in loops.items():
            if loop is here or not loop.is_running():
                found.pool.dispose()
            else:
                with suppress(RuntimeError):  # it has ended meanwhile, and has closed them
                    asyncio.run_coroutine_threadsafe(greenlet_spawn(found.pool.dispose), loop)

    async def dispose_loop(self) -> None:
        """Close the connections of the running loop that wait."""
        with self._opening:
            found = self._loops.pop(asyncio.get_running_loop(), None)
        if found is not None:
            await greenlet_spawn(found.pool.dispose)

    def _do_get(self) -> ConnectionPoolEntry:
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop) or self._open(loop)
        return found.pool._do_get()

    def _open(self, loop: asyncio.AbstractEventLoop) -> _LoopConnections:
        shared = {"dialect": self._dialect, "_dispatch": self.dispatch}
        pool = AsyncAdaptedQueuePool(self._creator, **{**self._options, **shared})
        opened = _LoopConnections(pool, _until_loop_ends(pool, self._forget))
        # The loop learns of a generator that is begun in it, and closes it when it ends.
        with suppress(StopIteration):
            opened.until_loop_ends.__anext__().send(None)
        with self._opening:
            ended = [other for other in self._loops if other.is_closed()]
            left = [self._loops.pop(other) for other in ended]
            self._loops[loop] = opened
        for other in left:
            other.pool.dispose()
        return opened

    def _forget(self) -> None:
        with self._opening:
            self._loops.pop(asyncio.get_running_loop(), None)


async def _until_loop_ends(
    pool: AsyncAdaptedQueuePool, forget: Callable[[], None]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        forget()
        await greenlet_spawn(pool.dispose)
