"""The sync and async twins of a manager's methods: each is written once, and the async one is made of it.

A method runs what it does on an engine, and waits for it. Its async twin is the same method on a twin of the
manager whose engine awaits instead: the method runs in a greenlet, as SQLAlchemy runs its own. So the two
cannot come to differ, in what they take nor in what they do.
"""

from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Engine
from sqlalchemy.util import greenlet_spawn

from taskq.database.database import Database

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound="SyncAsync")


class SyncAsync:
    """A manager whose methods have twins.

    Args:
        database: What it manages; or what finds it, which is asked for each operation.
    """

    def __init__(self, database: Database | Callable[[], Database]) -> None:
        self._get_database: Callable[[], Database] = (
            database if not isinstance(database, Database) else lambda: database
        )
        self._awaits = False

    @property
    def database(self) -> Database:
        """Where its operations run."""
        return self._get_database()

    def _engine(self, database: Database) -> Engine:
        return database.async_engine.sync_engine if self._awaits else database.engine

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
