"""The commit of a job: what its task does in the database and the end of the job become true at once.

The row of the job is left alone until the task's work is done. Then it is held, its end is written by the
statement that the completer has for it, and the commit follows, so that no other session waits long for the
row. Nothing is set on the session but by ``BEGIN``. If the answer to it is lost, the database is asked.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack, suppress
from enum import Enum, auto
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import Connection, Transaction, event
from sqlalchemy.exc import DBAPIError

from taskq import queries
from taskq.database.database import Database
from taskq.database.errors import is_refusal, translated
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
from taskq.queries.connection import Driver, driver_of
from taskq.queries.job_commit import ClaimedJob
from taskq.queries.job_progress import progress_json
from taskq.task import Task
from taskq.worker import outcomes
from taskq.worker.outcomes import Decision
from taskq.worker.transactions import Transactions


class _State(Enum):
    NEW = auto()
    OPEN = auto()
    ENDING = auto()
    UNDONE = auto()
    COMMITTED = auto()
    LOST = auto()


class UnansweredError(Exception):
    """The connection was lost with the COMMIT on its way, or just before it."""


class JobCommit:
    """The transaction as the database has it: opened, held and committed in a thread or in a greenlet.

    Args:
        transactions: Where it comes from.
        job: The job, claimed.
        task: Its task.
        loop: The event loop of the worker.
        reported: Says how far the task is, by what it has reported last.
    """

    def __init__(
        self,
        transactions: Transactions,
        job: Job,
        task: Task[..., Any],
        *,
        loop: asyncio.AbstractEventLoop,
        reported: Callable[[], NewProgress | None],
    ) -> None:
        self._transactions = transactions
        self._job = job
        self._task = task
        self._loop = loop
        self._reported = reported
        self._ended = ExitStack()
        self._database: Database | None = None
        self._refused: Decision | None = None
        # By a worker that has no id, nothing was claimed.
        self._claimed = ClaimedJob(job_id=job.id, claim=job.claim, worker_id=job.worker_id or 0)
        self._opened: Connection | None = None
        self._driver: Driver | None = None
        self._root: Transaction | None = None
        self._began_at = 0
        self._number = ""
        self._may_commit = False
        self._state: _State = _State.NEW
        self.outcome: Outcome | None = None
        self.seconds: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the task is in the block."""
        return self._state is _State.OPEN

    @property
    def is_ending(self) -> bool:
        """Whether the end of the job is on its way, or written."""
        return self._state in {_State.ENDING, _State.COMMITTED}

    @property
    def is_committed(self) -> bool:
        """Whether the end of the job is written."""
        return self._state is _State.COMMITTED

    def shown(self) -> str:
        """The job, as messages have it."""
        return f"job {self._job.id} ({self._job.task_name})"

    def decide(self, raised: BaseException | None = None) -> Decision | None:
        """What has become of the job, if that is no more the task's to say.

        Args:
            raised: What the task has raised.
        """
        match self._state:
            case _State.COMMITTED:
                return Decision(Ending.SUCCEEDED, self.outcome, written=True)
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
        self.outcome = decision.outcome

    def begin(self) -> None:
        """Take in that the block has begun.

        Raises:
            InvalidTransaction: It had begun before.
        """
        if self._state is not _State.NEW:
            raise InvalidTransaction(
                f"{self.shown()}: this transaction was begun before, and an attempt has one: do all in one "
                "block, with savepoints (connection.begin_nested()) for what may fail in it"
            )
        self._state = _State.UNDONE

    def open(self, database: Database, *, is_async: bool) -> Connection:
        """Begin the transaction, if the job is still this worker's.

        Args:
            database: Where.
            is_async: Whether this is an async task's, in a greenlet.

        Raises:
            JobLost: It is not.
        """
        try:
            return self._open(database, is_async=is_async)
        except DatabaseUnavailable:
            if self._driver is None:
                raise  # there was no connection
        # One that went dead in the pool: nothing has been done on it, and it is not there any more.
        return self._open(database, is_async=is_async)

    def _open(self, database: Database, *, is_async: bool) -> Connection:
        self._database, self._driver = database, None
        with translated(database), ExitStack() as opened:
            connection, self._root = opened.enter_context(
                self._transactions.begun(database, is_async=is_async)
            )
            self._opened = connection
            self._driver = driver = driver_of(connection)
            assert driver is not None  # noqa: S101 - the engines are on psycopg
            event.listen(connection, "commit", self._on_commit)
            opened.callback(event.remove, connection, "commit", self._on_commit)
            # It begins it on the server: a block of psycopg's own in it is a savepoint then, and no commit.
            with self._transactions.bounded(driver, self._loop):
                begun = queries.job_commit.begin_job_commit(connection, self._claimed)
            if begun is None:
                raise self._lost()
            self._transactions.opened(driver, begun)
            self._began_at = begun.began_at
            self._state = _State.OPEN
            self._ended.push(opened.pop_all())
        return connection

    def hold(self) -> None:
        """Lock the row of the job, which may have to wait for another session.

        Raises:
            JobLost: It is another worker's by now.
            JobAborted: It is to be aborted.
            InvalidTransaction: The task has ended its transaction, or a statement of it failed.
        """
        with translated(self._database):
            connection = self._checked()
            held = queries.job_commit.hold_job(
                connection, self._claimed, idle_for=self._transactions.idle_for
            )
            if held is None:
                raise self._lost()
            if held.began_at != self._began_at:
                raise self._ended_by_hand()
            if held.abort_requested:
                raise JobAborted(
                    f"{self.shown()} is to be aborted: what its transaction did was rolled back"
                )
            self._number = held.transaction_id

    def commit(self) -> None:
        """Write the end of the job, and commit.

        Raises:
            UnansweredError: The connection was lost.
        """
        if self.outcome is None:
            self.returned(None)
        connection, root, outcome = self._opened, self._root, self.outcome
        assert connection is not None and root is not None and outcome is not None  # noqa: S101, PT018
        driver = self._driver
        assert driver is not None  # noqa: S101
        self._state = _State.ENDING
        began = self._loop.time()
        try:
            with self._transactions.bounded(driver, self._loop):
                self._finish(connection, outcome)
                self._may_commit = True
                root.commit()
        except Exception as error:
            if driver.closed:
                raise UnansweredError from error
            # What the server answers with, such as a constraint that waited for the commit, has undone all.
            if self._state is _State.ENDING:
                self._state = _State.UNDONE
            raise
        self.seconds = self._loop.time() - began
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
                f"the end of {self.shown()} could not be written: {first_line(error)}"
            )
            self._refused = outcomes.failed(
                self._job, self._task, self._transactions.options, refused
            )
            raise refused from error
        if self._job.id not in ours:
            raise self._lost()

    async def was_committed(self) -> bool:
        """Ask the database whether it has committed, after the answer to that was lost."""
        return await self._transactions.was_committed(self._claimed, self._number)

    def learn(self, is_committed: bool, unanswered: UnansweredError) -> None:
        """Take in what ``was_committed`` answers.

        Raises:
            DatabaseUnavailable: It was not committed.
        """
        if is_committed:
            self._state = _State.COMMITTED
            return
        self._state = _State.UNDONE
        raise DatabaseUnavailable(
            f"{self.shown()}: the connection was lost at the end of its transaction, and the database has "
            "rolled it back: nothing of it is there"
        ) from unanswered.__cause__

    def close(self) -> None:
        """Roll back what was not committed, and give the connection back. Does nothing twice."""
        if self._state is _State.OPEN:
            self._state = _State.UNDONE
        connection, self._opened = self._opened, None
        root, driver = self._root, self._driver
        if connection is not None and root is not None and driver is not None:
            try:
                if not connection.closed:
                    with self._transactions.bounded(driver, self._loop):
                        self._transactions.undo(connection, root)
            except Exception:
                connection.invalidate()
            self._transactions.closed(driver)
        with suppress(Exception):
            self._ended.close()

    def _checked(self) -> Connection:
        connection, root = self._opened, self._root
        assert connection is not None and root is not None  # noqa: S101, PT018
        if connection.closed:
            raise self._ended_by_hand()
        if connection.invalidated:
            raise DatabaseUnavailable(
                f"{self.shown()}: the connection of its transaction was lost, and all is rolled back"
            )
        driver = connection.connection.driver_connection
        if not root.is_active or _status(driver) is TransactionStatus.IDLE:
            raise self._ended_by_hand()
        if _status(driver) is TransactionStatus.INERROR:
            raise InvalidTransaction(
                f"{self.shown()}: a statement of its transaction failed and the error was caught, but "
                "PostgreSQL takes nothing more in such a transaction: do what may fail in a savepoint, as in "
                "`with connection.begin_nested():`"
            )
        return connection

    def _on_commit(self, _: Connection) -> None:
        if not self._may_commit:
            raise InvalidTransaction(
                f"{self.shown()}: leave the commit to the end of the block, which writes that the job has "
                "succeeded into the same transaction; what is to be kept whatever comes after belongs on "
                "another connection"
            )

    def _ended_by_hand(self) -> InvalidTransaction:
        return InvalidTransaction(
            f"{self.shown()}: the task itself ended its transaction, by a rollback, a commit or by closing "
            "the connection, so that the end of the job cannot be part of it: leave that to the block, and "
            "raise an error to roll back"
        )

    def _lost(self) -> JobLost:
        self._state = _State.LOST
        return JobLost(
            f"{self.shown()} is not this worker's any more, as it was taken for dead, or the job was "
            "deleted: what its transaction did was rolled back"
        )


def _status(driver: object) -> TransactionStatus:
    assert isinstance(driver, psycopg.Connection | psycopg.AsyncConnection)  # noqa: S101
    return driver.info.transaction_status
