"""Where the operations of a job manager run: in a round trip of their own, or in a caller's transaction."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Engine
from sqlalchemy.util import await_only

from taskq.database import executor
from taskq.database.connection_database import ConnectionDatabase
from taskq.database.database import Database
from taskq.database.errors import translated
from taskq.database.executor import AnyConnection, borrowed, check_connection, pooled, reading
from taskq.database.sync_async import SyncAsync
from taskq.exceptions import AlreadyEnqueued
from taskq.queries.connection import Connection

P = ParamSpec("P")
T = TypeVar("T")


class JobOperations(SyncAsync):
    """What runs the operations of a job manager."""

    # A caller's, in whose transaction they run.
    _connection: AnyConnection | None = None

    @property
    def in_transaction(self) -> bool:
        """Whether the operations are in a transaction that goes on: no worker sees its jobs yet."""
        return self._connection is not None

    @property
    def _is_apart(self) -> bool:
        """Whether each operation is a transaction of its own, in which a caller has no part."""
        return self._connection is None

    def on(self, connection: AnyConnection) -> Self:
        """Make a manager whose operations are in the transaction of a connection or session.

        So is what would else go page by page, each in a transaction of its own. What fails leaves the
        transaction as it was. Others wait for what it has locked, until it ends.

        Args:
            connection: A SQLAlchemy ``Connection`` or ``Session``, or a ``psycopg.Connection``; for the
                async methods their async twins.

        Raises:
            InvalidDatabase: It is none of these, in a pipeline, or of the app's own engine, in autocommit.
                What only a round trip shows is refused by the operations.
        """
        check_connection(connection)
        return self._twin(_connection=connection)

    def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        if (connection := self._connection) is not None:
            with translated():
                if self._awaits:
                    return await_only(executor.run_async(connection, operation, *args, **kwargs))
                return executor.run(connection, operation, *args, **kwargs)
        database = self.database
        if isinstance(database, ConnectionDatabase):
            with translated():
                if self._awaits:
                    return await_only(database.run_async(operation, *args, **kwargs))
                return database.run(operation, *args, **kwargs)
        with translated(database), self._connect(database) as own:
            return operation(own, *args, **kwargs)

    def _run_naming(self, operation: Callable[[Connection], T]) -> T:
        try:
            return self._run(operation)
        except AlreadyEnqueued as error:
            # It came in the same moment, and only now does the database know its id.
            if error.job_id is not None or not self._is_apart:
                raise
        return self._run(operation)

    def _connect(self, database: Database) -> AbstractContextManager[Connection]:
        # An AsyncConnection would take a greenlet each for connecting, for executing and for closing: a
        # third more of the time that it takes to defer a job.
        engine = self._engine(database)
        if database.made(engine):
            return pooled(engine)
        # A caller's own may have listeners for what it executes.
        return _connected(engine, pooler=database.pooler)


@contextmanager
def _connected(engine: Engine, *, pooler: bool) -> Iterator[Connection]:
    with borrowed(engine, pooler=pooler) as connection, reading(connection) as readable:
        yield readable
