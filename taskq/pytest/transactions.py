"""The transactions of tasks in a test: of their own, or savepoints in the one that the test rolls back."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from sqlalchemy import Connection, Transaction
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from taskq.database.connection_database import ConnectionDatabase
from taskq.database.database import Database
from taskq.exceptions import InvalidTransaction
from taskq.queries.job_commit import ClaimedJob, SentCommit
from taskq.worker.app import WorkerApp
from taskq.worker.options import WorkerOptions
from taskq.worker.transactions import Transactions


class DrivenTransactions(Transactions):
    """What the transactions of tasks share that a test runs.

    Args:
        app: Whose database they are in.
        options: Those of the worker.
        read_commit: Asks the database what has become of a commit.
    """

    def __init__(
        self,
        app: WorkerApp,
        options: WorkerOptions,
        *,
        read_commit: Callable[[ClaimedJob, str], Awaitable[SentCommit]],
    ) -> None:
        super().__init__(app, options, connections=_no_connections, lock_written=_is_written)
        self._database = app.database
        self._read_commit = read_commit

    def database(self) -> Database:
        """The database that the test runs jobs of.

        Raises:
            InvalidTransaction: The app has been put on another one.
        """
        if self._app.database is not self._database:
            raise InvalidTransaction(
                f"the app was put on another database ({self._app.database!r}) by the task itself"
            )
        return self._database

    @property
    def idle_for(self) -> float | None:
        """None on the one connection of a test, which goes on afterwards, perhaps in a debugger."""
        return None if isinstance(self._database, ConnectionDatabase) else super().idle_for

    @contextmanager
    def begun(
        self, database: Database, *, is_async: bool
    ) -> Iterator[tuple[Connection, Transaction]]:
        """A transaction of its own; on the one connection of a test, a savepoint."""
        if not isinstance(database, ConnectionDatabase):
            with super().begun(database, is_async=is_async) as begun:
                yield begun
            return
        connection = database.sync_connection
        if connection is None or database.is_async is not is_async:
            wanted = (
                "an AsyncConnection or an AsyncSession" if is_async else "a Connection or a Session"
            )
            raise InvalidTransaction(
                f"the test has put the app on {database.connection!r}, in which a task's transaction cannot "
                f"be a savepoint: {'an async' if is_async else 'a sync'} task needs {wanted} there"
            )
        yield connection, connection.begin_nested()

    def undo(self, connection: Connection, transaction: Transaction) -> None:
        """Roll back what was not committed, and no more."""
        if isinstance(self._database, ConnectionDatabase):
            if transaction.is_active:
                transaction.rollback()
        else:
            super().undo(connection, transaction)

    def as_async(self, database: Database, connection: Connection) -> AsyncConnection:
        """A connection, as an async task sees it."""
        if not isinstance(database, ConnectionDatabase):
            return super().as_async(database, connection)
        if isinstance(database.connection, AsyncConnection):
            return database.connection
        return AsyncConnection(AsyncEngine(connection.engine), connection)

    async def was_committed(self, job: ClaimedJob, transaction_id: str) -> bool:
        """Whether a transaction was committed whose connection was lost with the COMMIT on its way."""
        return (await self._read_commit(job, transaction_id)).is_committed


def _no_connections() -> NoReturn:
    raise AssertionError("jobs that a test runs have no worker's connections")


async def _is_written(lock: str) -> None:
    # One job is run after the other, and each end is written before the next begins.
    return
