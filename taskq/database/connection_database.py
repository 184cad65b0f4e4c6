"""One connection of a caller's in the place of a database: all that an app does is in its transaction.

For tests that run in a transaction and roll it back. What is deferred, claimed and finished there no other
session sees, and none is notified of it.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Concatenate, Never, ParamSpec, TypeVar

import psycopg
from sqlalchemy import URL, Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session

from taskq.database import executor
from taskq.database.database import Database
from taskq.database.executor import AnyConnection, check_connection
from taskq.database.url import DRIVER
from taskq.exceptions import InvalidDatabase
from taskq.queries.connection import Connection as QueryConnection

P = ParamSpec("P")
T = TypeVar("T")

_ASYNC = (AsyncConnection, AsyncSession, psycopg.AsyncConnection)


class ConnectionDatabase(Database):
    """A database of which one connection is used, in the transaction that its owner began.

    Its operations take turns, also if threads ask for them. Those of the sync methods run where they are
    called, and so do those of the async ones if the connection is a sync one. Those of an async connection
    run in the event loop in which it was first used here: in a thread, a sync method waits for that.

    Args:
        connection: The connection, or a session on it.

    Raises:
        InvalidDatabase: It cannot carry the operations; see ``check_connection``.
    """

    def __init__(self, connection: AnyConnection) -> None:
        super().__init__(URL.create(DRIVER), origin="whose connection was given")
        if isinstance(connection, scoped_session | async_scoped_session):
            # Each thread, or whatever else the scope is, would have another one.
            connection = connection()
        check_connection(connection)
        self.connection: AnyConnection = connection
        self.is_async: bool = isinstance(connection, _ASYNC)
        self._loop: asyncio.AbstractEventLoop | None = None  # known once it is first used
        self._turn = threading.RLock()
        self._async_turn = asyncio.Lock()

    def run(
        self,
        operation: Callable[Concatenate[QueryConnection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation on the connection.

        Raises:
            InvalidDatabase: The connection is an async one, whose event loop runs here.
        """
        if not self.is_async:
            with self._turn:
                return executor.run(self.connection, operation, *args, **kwargs)
        if self._loop is None or asyncio._get_running_loop() is not None:
            raise InvalidDatabase(
                f"the app is on a {type(self.connection).__name__} for the time of a test, and this call "
                "would block the event loop that it needs: await the async method"
            )
        return asyncio.run_coroutine_threadsafe(
            self.run_async(operation, *args, **kwargs), self._loop
        ).result()

    async def run_async(
        self,
        operation: Callable[Concatenate[QueryConnection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation on the connection, where an event loop runs."""
        if not self.is_async:
            return self.run(operation, *args, **kwargs)
        self._loop = asyncio.get_running_loop()
        async with self._async_turn:
            return await executor.run_async(self.connection, operation, *args, **kwargs)

    @property
    def sync_connection(self) -> Connection | None:
        """The SQLAlchemy connection of it, if it has one; of an async one, to be used in a greenlet."""
        match self.connection:
            case Connection():
                return self.connection
            case Session():
                return self.connection.connection()
            case AsyncConnection():
                return self.connection.sync_connection
            case AsyncSession():
                return self.connection.sync_session.connection()
        return None

    @property
    def engine(self) -> Never:
        """There is none.

        Raises:
            InvalidDatabase: Always.
        """
        raise self._no_engine()

    @property
    def async_engine(self) -> Never:
        """There is none.

        Raises:
            InvalidDatabase: Always.
        """
        raise self._no_engine()

    def __repr__(self) -> str:
        return f"<Database {self}>"

    def __str__(self) -> str:
        return f"of one {type(self.connection).__name__}"

    def _no_engine(self) -> InvalidDatabase:
        return InvalidDatabase(
            f"the app is on one {type(self.connection).__name__} for the time of a test, in a transaction "
            "that no other session sees: no worker can run on it, no notification comes of it, and its "
            "schema is not managed there; defer, and run jobs by jobs.drain()"
        )
