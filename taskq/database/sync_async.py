"""The sync and async twins of a manager's methods: each is written once, and the async one is made of it.

A method says what it does by ``self._run``, which runs an operation on a connection and waits for it. Its
async twin is the same method on a twin of the manager whose ``_run`` awaits instead: the method runs in a
greenlet, as SQLAlchemy runs its own. So the two cannot come to differ, in what they take nor in what they do.
"""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.util import await_only, greenlet_spawn

from taskq.database import executor
from taskq.database.database import Database
from taskq.database.errors import translated
from taskq.database.executor import AnyConnection

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound="SyncAsync")


class SyncAsync:
    """What runs the operations of a manager.

    Args:
        database: Where they run without a connection of the caller's; or what finds it, which is asked for
            each operation.
    """

    def __init__(self, database: Database | Callable[[], Database]) -> None:
        self._get_database: Callable[[], Database] = (
            database if not isinstance(database, Database) else lambda: database
        )
        self._awaits = False
        # A caller's, in whose transaction they run instead.
        self._connection: AnyConnection | None = None

    @property
    def database(self) -> Database:
        """Where they run without a connection of the caller's."""
        return self._get_database()

    def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def run(on: Connection) -> T:
            return operation(on, *args, **kwargs)

        if (connection := self._connection) is not None:
            with translated():
                if self._awaits:
                    return await_only(executor.run_async(connection, run))
                return executor.run(connection, run)
        database = self.database
        with translated(database):
            # An AsyncConnection would take a greenlet each for connecting, for executing and for
            # closing: a third more of the time that it takes to defer a job.
            engine = database.async_engine.sync_engine if self._awaits else database.engine
            with self._connect(database, engine) as own:
                return run(own)

    def _connect(self, database: Database, engine: Engine) -> AbstractContextManager[Connection]:
        return executor.borrowed(engine, pooler=database.pooler)

    def _twin(self, **changed: object) -> Self:
        # copy() takes five times as long.
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__ | changed
        return twin


def async_method(
    method: Callable[Concatenate[F, P], T],
) -> Callable[Concatenate[F, P], Coroutine[Any, Any, T]]:
    """Make the async twin of a method: the same, documentation and all, to be awaited."""

    @wraps(method)
    async def twin(self: F, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await greenlet_spawn(partial(method, self._twin(_awaits=True), *args, **kwargs))

    twin.__name__ += "_async"
    twin.__qualname__ += "_async"
    return twin
