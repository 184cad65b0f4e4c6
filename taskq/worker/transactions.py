"""Where the transactions of a worker's tasks come from: how many at once, on which database, how bounded."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Transaction
from sqlalchemy.ext.asyncio import AsyncConnection

from taskq import queries
from taskq.context import AbortReason
from taskq.database.backoff import Backoff
from taskq.database.connection import cut
from taskq.database.database import Database
from taskq.database.executor import borrowed
from taskq.exceptions import InvalidTransaction, JobAborted
from taskq.queries.connection import Driver
from taskq.queries.job_commit import BegunCommit, ClaimedJob
from taskq.worker.app import WorkerApp
from taskq.worker.connections import WorkerConnections
from taskq.worker.options import WorkerOptions

T = TypeVar("T")

# How often a thread that waits checks whether its task is to be aborted.
PATIENCE = 0.1  # seconds


class Transactions:
    """What the transactions of one worker share.

    Args:
        app: Whose database they are in.
        options: Those of the worker.
        connections: Answers with those of the worker, once it runs.
        lock_written: Waits until the ends of all jobs with a lock are written that this worker has run.
    """

    def __init__(
        self,
        app: WorkerApp,
        options: WorkerOptions,
        *,
        connections: Callable[[], WorkerConnections],
        lock_written: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self.options = options
        self._app = app
        self._connections = connections
        # Those that are open, by threads and by the event loop.
        self._open: dict[Driver, BegunCommit] = {}
        self.lock_written: Callable[[str], Coroutine[Any, Any, None]] = lock_written
        # Each of the two engines has a pool of its own.
        self._places = threading.Semaphore(options.max_transactions)
        self._async_places = asyncio.Semaphore(options.max_transactions)

    def database(self) -> Database:
        """The database that the worker claims from.

        Raises:
            InvalidTransaction: The app has been put on another one.
        """
        of_worker, of_app = self._connections().database, self._app.database
        if of_app is not of_worker:
            raise InvalidTransaction(
                f"the app was put on another database ({of_app!r}) than its worker runs on ({of_worker!r}), "
                "where the end of the job belongs: let replace_database() end before the transaction begins, "
                "or run the worker within it"
            )
        return of_worker

    def take(self, abort_reason: Callable[[], AbortReason | None]) -> Callable[[], None]:
        """Wait in a thread until one more may be open; returns what says that it is closed.

        Raises:
            JobAborted: The task was asked to abort meanwhile.
        """
        while not self._places.acquire(timeout=PATIENCE):
            if abort_reason() is not None:
                raise JobAborted("the task was aborted while it waited for its transaction")
        return self._places.release

    async def take_async(self) -> Callable[[], None]:
        """Wait until one more may be open; returns what says that it is closed."""
        await self._async_places.acquire()
        return self._async_places.release

    @property
    def idle_for(self) -> float | None:
        """Seconds after which the server ends a session that holds a job and gets nothing; None: never."""
        return self.options.stalled_worker_timeout

    def opened(self, driver: Driver, begun: BegunCommit) -> None:
        """Take in that a transaction is open on a connection."""
        self._open[driver] = begun

    def closed(self, driver: Driver) -> None:
        """Take in that it is open no more."""
        self._open.pop(driver, None)

    def waiting(self) -> dict[Driver, BegunCommit]:
        """Those whose connection waits for an answer of the server at this moment."""
        return {
            driver: begun
            for driver, begun in list(self._open.items())
            if driver.info.transaction_status is TransactionStatus.ACTIVE
        }

    @contextmanager
    def begun(
        self, database: Database, *, is_async: bool
    ) -> Iterator[tuple[Connection, Transaction]]:
        """A connection in a transaction of its own; where ``is_async``, one to be used in a greenlet.

        Args:
            database: Where.
            is_async: Whether it is an async engine's.
        """
        engine = database.async_engine.sync_engine if is_async else database.engine
        transactional = engine.execution_options(isolation_level="READ COMMITTED")
        with borrowed(transactional, pooler=database.pooler) as connection:
            yield connection, connection.begin()

    def undo(self, connection: Connection, transaction: Transaction) -> None:
        """Roll back what was not committed of a transaction that ``begun`` gave."""
        connection.rollback()

    def as_async(self, database: Database, connection: Connection) -> AsyncConnection:
        """A connection that ``begun`` gave, as an async task sees it."""
        return AsyncConnection(database.async_engine, connection)

    @contextmanager
    def bounded(self, driver: Driver, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Give a connection up that has not answered for as long as a worker waits for a statement.

        Args:
            driver: The connection.
            loop: The event loop of the worker; this may run in a thread.
        """
        timers: list[asyncio.TimerHandle] = []

        def begin() -> None:
            timers.append(loop.call_later(self.options.statement_bound, cut, driver))

        def end() -> None:
            for timer in timers:
                timer.cancel()

        # A worker that leaves has closed it.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(begin)
        try:
            yield
        finally:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(end)

    async def was_committed(self, job: ClaimedJob, transaction_id: str) -> bool:
        """Whether a transaction was committed whose connection was lost with the COMMIT on its way."""
        connection, backoff = self._connections().shared, Backoff()
        while True:
            sent = await connection.retry(queries.job_commit.read_job_commit, job, transaction_id)
            if not sent.is_under_way:
                return sent.is_committed
            await connection.retry(queries.job_commit.end_job_commit, transaction_id)
            await backoff.wait()


async def to_its_end(awaited: Coroutine[Any, Any, T]) -> T:
    """Await something to its end, also if this is cancelled meanwhile; that is raised afterwards."""
    task = asyncio.ensure_future(awaited)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
