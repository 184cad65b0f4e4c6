"""The transaction of an attempt, as its task sees it: a block, sync or async, that ends with the job."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import greenlet_spawn

from taskq.context import AbortReason
from taskq.exceptions import InvalidTransaction, JobAborted
from taskq.job import Job
from taskq.outcome import Outcome
from taskq.progress import NewProgress
from taskq.task import Task
from taskq.worker.job_commit import JobCommit, UnansweredError
from taskq.worker.transactions import PATIENCE, Transactions, to_its_end

T = TypeVar("T")


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
        self._lock = job.lock
        self._loop = loop
        self._abort_reason = abort_reason
        self._on_committed = committed
        self._ended = ExitStack()
        self.job_commit: JobCommit = JobCommit(
            transactions, job, task, loop=loop, reported=reported
        )
        # As the task sees it.
        self.connection: Connection | AsyncConnection | None = None

    # In a sync task

    def __enter__(self) -> Connection:
        if asyncio._get_running_loop() is self._loop:
            raise InvalidTransaction(
                f"{self.job_commit.shown()}: here the worker's event loop runs, which "
                "`with context.transaction()` would block: write `async with context.transaction()`"
            )
        self.job_commit.begin()
        self._ended.callback(self._transactions.take(self._abort_reason))
        try:
            database = self._transactions.database()
            self.connection = self.job_commit.open(database, is_async=False)
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
                if self._lock is not None:
                    self._wait_for(self._transactions.lock_written(self._lock))
                self.job_commit.hold()
                self.job_commit.commit()
        except UnansweredError as unanswered:
            self._close()
            answer = self._wait_for(self.job_commit.was_committed())
            self.job_commit.learn(answer, unanswered)
        finally:
            self._close()
        if self.job_commit.is_committed:
            # The event loop may be closed: then there is no worker to be told.
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
                        f"{self.job_commit.shown()} was aborted while its end waited for the database"
                    ) from None

    # In an async task

    async def __aenter__(self) -> AsyncConnection:
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidTransaction(
                f"{self.job_commit.shown()}: here another event loop runs than the worker's: write `with "
                "context.transaction()`, or declare the task with async def"
            )
        self.job_commit.begin()
        self._ended.callback(await self._transactions.take_async())
        try:
            database = self._transactions.database()
            opened = await greenlet_spawn(partial(self.job_commit.open, database, is_async=True))
        except BaseException:
            await to_its_end(greenlet_spawn(self._close))
            raise
        self.connection = connection = self._transactions.as_async(database, opened)
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
                # Those before it in the lock are to be repeated before it, if they are. That, and
                # another session that holds the row of the job, may take long: until here this may
                # be cancelled.
                if self._lock is not None:
                    await self._transactions.lock_written(self._lock)
                await greenlet_spawn(self.job_commit.hold)
                await to_its_end(greenlet_spawn(self.job_commit.commit))
        except UnansweredError as unanswered:
            await to_its_end(greenlet_spawn(self._close))
            self.job_commit.learn(await self.job_commit.was_committed(), unanswered)
        finally:
            if self.job_commit.is_committed:
                self._tell()
            await to_its_end(greenlet_spawn(self._close))

    def _tell(self) -> None:
        if self.job_commit.outcome is not None:
            self._on_committed(self.job_commit.outcome, self.job_commit.seconds)

    def _close(self) -> None:
        self.connection = None
        self.job_commit.close()
        with suppress(Exception):
            self._ended.close()
