"""The transaction of an attempt: what its task does in the database and the end of its job, in one commit.

The row of the job is left alone until the task's work is done. Then it is held, its end is written by the
statement that the completer has for it, and the commit follows, so that nobody waits long for the row.
Nothing is set on the session but by ``BEGIN``. If the answer to it is lost, the database is asked.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from enum import Enum, auto
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Engine, RootTransaction, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from taskq import queries
from taskq.context import AbortReason
from taskq.database.database import Database
from taskq.database.errors import is_refusal, translated
from taskq.database.executor import borrowed
from taskq.exceptions import (
    DatabaseUnavailable,
    InvalidResult,
    InvalidTransaction,
    JobAborted,
    JobLost,
)
from taskq.job import Job
from taskq.messages import first_line
from taskq.outcome import Ending, Outcome
from taskq.progress import NewProgress
from taskq.queries.connection import driver_of
from taskq.queries.job_commit import ClaimedJob
from taskq.queries.job_progress import progress_json
from taskq.task import Task
from taskq.worker import outcomes
from taskq.worker.outcomes import Decision
from taskq.worker.transactions import PATIENCE, Transactions, to_its_end

T = TypeVar("T")


class _State(Enum):
    NEW = auto()
    OPEN = auto()
    ENDING = auto()
    UNDONE = auto()
    COMMITTED = auto()
    LOST = auto()


class _UnansweredError(Exception):
    """The connection was lost with the COMMIT on its way, or just before it."""


class AttemptTransaction:
    """A block at whose end the job has succeeded, if its transaction can be committed.

    Args:
        transactions: Where it comes from.
        job: The job, claimed.
        task: Its task.
        loop: The event loop of the worker.
        abort_reason: Why the attempt is asked to abort.
        reported: Says how far the task is, by what it has reported last.
        committed: Called in the event loop with what was written, and the seconds that it took.
    """

    def __init__(
        self,
        transactions: Transactions,
        job: Job,
        task: Task[..., Any],
        *,
        loop: asyncio.AbstractEventLoop,
        abort_reason: Callable[[], AbortReason | None],
        reported: Callable[[], NewProgress | None],
        committed: Callable[[Outcome, float], None],
    ) -> None:
        self._transactions = transactions
        self._job = job
        self._task = task
        self._loop = loop
        self._abort_reason = abort_reason
        self._reported = reported
        self._on_committed = committed
        self._state = _State.NEW
        self._ended = ExitStack()
        self._database: Database | None = None
        self._outcome: Outcome | None = None
        self._refused: Decision | None = None
        # By a worker that has no id, nothing was claimed.
        self._claimed = ClaimedJob(job_id=job.id, claim=job.claim, worker_id=job.worker_id or 0)
        self._opened: Connection | None = None
        self._root: RootTransaction | None = None
        self._began_at = 0
        self._number = ""
        self._may_commit = False
        self._seconds = 0.0
        # As the task sees it.
        self.connection: Connection | AsyncConnection | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the end of the job is on its way, or written."""
        return self._state in {_State.ENDING, _State.COMMITTED}

    @property
    def is_open(self) -> bool:
        """Whether the task is in the block."""
        return self._state is _State.OPEN

    def decide(self, raised: BaseException | None = None) -> Decision | None:
        """What has become of the job, if that is no more the task's to say.

        Args:
            raised: What the task has raised.
        """
        match self._state:
            case _State.COMMITTED:
                return Decision(Ending.SUCCEEDED, self._outcome, written=True)
            case _State.LOST:
                return Decision(Ending.LOST, None)
        # Whatever the retry strategy says: it could not be written the next time either.
        refused = self._refused
        return refused if refused is not None and refused.error is raised else None

    def returned(self, value: object) -> None:
        """Take what the task returned, to be stored with the end of the job.

        Raises:
            InvalidResult: It cannot be stored.
        """
        decision = outcomes.decide(
            self._job, self._task, self._transactions.options, returned=value
        )
        if decision.error is not None:
            self._refused = decision
            raise decision.error
        self._outcome = decision.outcome

    # In a sync task

    def __enter__(self) -> Connection:
        if asyncio._get_running_loop() is self._loop:
            raise InvalidTransaction(
                f"{self._shown()}: here the worker's event loop runs, which `with context.transaction()` "
                "would block: write `async with context.transaction()`"
            )
        self._enter_once()
        self._ended.callback(self._transactions.take(self._abort_reason))
        try:
            self._database = self._transactions.database()
            self.connection = self._open(self._database, self._database.engine)
        except BaseException:
            self._close()
            raise
        return self.connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                if self._job.lock is not None:
                    self._wait_for(self._transactions.lock_written(self._job.lock))
                self._hold()
                self._commit()
        except _UnansweredError as unanswered:
            self._close()
            asked = self._transactions.was_committed(self._claimed, self._number)
            self._learn(self._wait_for(asked), unanswered)
        finally:
            self._close()
        if self._state is _State.COMMITTED:
            # The event loop may be closed: then nobody is left to be told.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell)

    def _wait_for(self, asked: Coroutine[Any, Any, T]) -> T:
        answer = asyncio.run_coroutine_threadsafe(asked, self._loop)
        while True:
            try:
                return answer.result(timeout=PATIENCE)
            except TimeoutError:
                if self._abort_reason() is not None:
                    answer.cancel()
                    raise JobAborted(
                        f"{self._shown()} was aborted while its end waited for the database"
                    ) from None

    # In an async task

    async def __aenter__(self) -> AsyncConnection:
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidTransaction(
                f"{self._shown()}: here another event loop runs than the worker's: write `with "
                "context.transaction()`, or declare the task with async def"
            )
        self._enter_once()
        self._ended.callback(await self._transactions.take_async())
        try:
            self._database = self._transactions.database()
            engine = self._database.async_engine
            opened = await greenlet_spawn(self._open, self._database, engine.sync_engine)
        except BaseException:
            await to_its_end(greenlet_spawn(self._close))
            raise
        self.connection = connection = AsyncConnection(engine, opened)
        return connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if asyncio._get_running_loop() is None:
            return  # closed after its event loop has gone: nothing can be awaited
        try:
            if error is None:
                # Those before it in the lock are to be repeated before it, if they are. That, and whoever
                # holds the row of the job, may take long: until here this may be cancelled.
                if self._job.lock is not None:
                    await self._transactions.lock_written(self._job.lock)
                await greenlet_spawn(self._hold)
                await to_its_end(greenlet_spawn(self._commit))
        except _UnansweredError as unanswered:
            await to_its_end(greenlet_spawn(self._close))
            asked = self._transactions.was_committed(self._claimed, self._number)
            self._learn(await asked, unanswered)
        finally:
            if self._state is _State.COMMITTED:
                self._tell()
            await to_its_end(greenlet_spawn(self._close))

    # In either, in a thread or in a greenlet

    def _enter_once(self) -> None:
        if self._state is not _State.NEW:
            raise InvalidTransaction(
                f"{self._shown()}: this transaction was begun before, and an attempt has one: do all in one "
                "block, with savepoints (connection.begin_nested()) for what may fail in it"
            )
        self._state = _State.UNDONE

    def _open(self, database: Database, engine: Engine) -> Connection:
        transactional = engine.execution_options(isolation_level="READ COMMITTED")
        with translated(database), ExitStack() as opened:
            self._opened = connection = opened.enter_context(
                borrowed(transactional, pooler=database.pooler)
            )
            self._root = connection.begin()
            event.listen(connection, "commit", self._on_commit)
            opened.callback(event.remove, connection, "commit", self._on_commit)
            # It begins it on the server: a block of psycopg's own in it is a savepoint then, and no commit.
            began_at = queries.job_commit.begin_job_commit(connection, self._claimed)
            if began_at is None:
                raise self._lost()
            self._began_at = began_at
            self._state = _State.OPEN
            self._ended.push(opened.pop_all())
        return connection

    def _hold(self) -> None:
        with translated(self._database):
            connection = self._checked()
            held = queries.job_commit.hold_job(connection, self._claimed)
            if held is None:
                raise self._lost()
            if held.began_at != self._began_at:
                raise self._ended_by_hand()
            if held.abort_requested:
                raise JobAborted(
                    f"{self._shown()} is to be aborted: what its transaction did was rolled back"
                )
            self._number = held.transaction_id

    def _commit(self) -> None:
        if self._outcome is None:
            self.returned(None)
        connection, root, outcome = self._opened, self._root, self._outcome
        assert connection is not None and root is not None and outcome is not None  # noqa: S101, PT018
        driver = driver_of(connection)
        assert driver is not None  # noqa: S101 - the engines are on psycopg
        self._state = _State.ENDING
        began = self._loop.time()
        try:
            with self._transactions.bounded(driver, self._loop):
                self._finish(connection, outcome)
                self._may_commit = True
                root.commit()
        except Exception as error:
            if driver.closed:
                raise _UnansweredError from error
            # What the server answers with, such as a constraint that waited for the commit, has undone all.
            if self._state is _State.ENDING:
                self._state = _State.UNDONE
            raise
        self._seconds = self._loop.time() - began
        self._state = _State.COMMITTED

    def _finish(self, connection: Connection, outcome: Outcome) -> None:
        if (progress := self._reported()) is not None:
            outcome.progress = progress_json(progress)
        try:
            with translated(self._database):
                ours = queries.job_finish.finish_jobs(
                    connection, self._claimed.worker_id, [outcome]
                )
        except Exception as error:
            cause = error.__cause__
            if not is_refusal(cause if isinstance(cause, DBAPIError) else error):
                raise
            refused = InvalidResult(
                f"the end of {self._shown()} could not be written: {first_line(error)}"
            )
            self._refused = outcomes.failed(
                self._job, self._task, self._transactions.options, refused
            )
            raise refused from error
        if self._job.id not in ours:
            raise self._lost()

    def _learn(self, is_committed: bool, unanswered: _UnansweredError) -> None:
        if is_committed:
            self._state = _State.COMMITTED
            return
        self._state = _State.UNDONE
        raise DatabaseUnavailable(
            f"{self._shown()}: the connection was lost at the end of its transaction, and the database has "
            "rolled it back: nothing of it is there"
        ) from unanswered.__cause__

    def _tell(self) -> None:
        if self._outcome is not None:
            self._on_committed(self._outcome, self._seconds)

    def _close(self) -> None:
        if self._state is _State.OPEN:
            self._state = _State.UNDONE
        connection, self._opened, self.connection = self._opened, None, None
        if connection is not None and not connection.closed:
            try:
                connection.rollback()
            except Exception:
                connection.invalidate()
        with suppress(Exception):
            self._ended.close()

    def _checked(self) -> Connection:
        connection, root = self._opened, self._root
        assert connection is not None and root is not None  # noqa: S101, PT018
        if connection.closed:
            raise self._ended_by_hand()
        if connection.invalidated:
            raise DatabaseUnavailable(
                f"{self._shown()}: the connection of its transaction was lost, and all is rolled back"
            )
        driver = connection.connection.driver_connection
        if not root.is_active or _status(driver) is TransactionStatus.IDLE:
            raise self._ended_by_hand()
        if _status(driver) is TransactionStatus.INERROR:
            raise InvalidTransaction(
                f"{self._shown()}: a statement of its transaction failed and the error was caught, but "
                "PostgreSQL takes nothing more in such a transaction: do what may fail in a savepoint, as in "
                "`with connection.begin_nested():`"
            )
        return connection

    def _on_commit(self, _: Connection) -> None:
        if not self._may_commit:
            raise InvalidTransaction(
                f"{self._shown()}: leave the commit to the end of the block, which writes that the job has "
                "succeeded into the same transaction; what is to be kept whatever comes after belongs on "
                "another connection"
            )

    def _ended_by_hand(self) -> InvalidTransaction:
        return InvalidTransaction(
            f"{self._shown()}: the task itself ended its transaction, by a rollback, a commit or by closing "
            "the connection, so that the end of the job cannot be part of it: leave that to the block, and "
            "raise an error to roll back"
        )

    def _lost(self) -> JobLost:
        self._state = _State.LOST
        return JobLost(
            f"{self._shown()} is not this worker's any more, as it was taken for dead, or the job was "
            "deleted: what its transaction did was rolled back"
        )

    def _shown(self) -> str:
        return f"job {self._job.id} ({self._job.task_name})"


def _status(driver: object) -> TransactionStatus:
    assert isinstance(driver, psycopg.Connection | psycopg.AsyncConnection)  # noqa: S101
    return driver.info.transaction_status
