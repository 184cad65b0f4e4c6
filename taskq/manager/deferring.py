"""The deferring part of the job manager."""

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from taskq import queries
from taskq.database.database import Database
from taskq.database.errors import naming
from taskq.database.sync_async import async_method
from taskq.defer_middleware import DeferMiddleware, apply_defer_middleware
from taskq.job import NewJob
from taskq.manager.bounds import check_new_jobs
from taskq.manager.insert_batcher import InsertBatcher
from taskq.manager.operations import JobOperations
from taskq.queries.connection import Connection
from taskq.queries.job_insert import OnConflict
from taskq.telemetry import Deferral, Telemetry

# A call with more jobs makes a good statement by itself, and would keep the others waiting.
SHARED = 100


class Deferring(JobOperations):
    """How jobs are deferred.

    Attributes:
        defer_middleware: What may change each job before it is sent.
        telemetry: Gets the events of jobs that are deferred.
    """

    defer_middleware: Sequence[DeferMiddleware] = ()

    def __init__(
        self, database: Database | Callable[[], Database], *, telemetry: Telemetry
    ) -> None:
        super().__init__(database)
        self.telemetry = telemetry
        # Of each event loop that has deferred something.
        self._batchers: WeakKeyDictionary[asyncio.AbstractEventLoop, InsertBatcher] = (
            WeakKeyDictionary()
        )

    def defer_jobs(
        self, jobs: Sequence[NewJob], *, on_conflict: OnConflict = "raise"
    ) -> list[int | None]:
        """Defer jobs, all or none, in one statement.

        Args:
            jobs: The jobs.
            on_conflict: What to do with a job whose queueing lock a job that waits already has: "raise"
                ``AlreadyEnqueued``, "skip" it, or "replace" the one that waits.

        Returns:
            Their ids, in the same order, with None for a job that was skipped; one that replaced the job
            that waits has that one's id, and so has one whose idempotency key a job has.

        Raises:
            InvalidJob: One is to replace the one that waits, and has no queueing lock.
            AlreadyEnqueued: A job with the queueing lock of one of them waits already.
        """
        check_new_jobs(jobs, on_conflict)
        with Deferral(self.telemetry, jobs) as deferral:
            jobs = apply_defer_middleware(self.defer_middleware, jobs)
            ids = self._defer_jobs(jobs, on_conflict=on_conflict)
            deferral.succeeded(jobs, ids)
        return ids

    def _defer_jobs(
        self, jobs: Sequence[NewJob], *, on_conflict: OnConflict = "raise"
    ) -> list[int | None]:
        """Defer jobs that were checked."""

        def defer(on: Connection) -> list[int | None]:
            with naming(jobs):
                return queries.job_insert.defer_jobs(
                    on, jobs, on_conflict=on_conflict, own_transaction=self._is_apart
                )

        return self._run_naming(defer)

    _defer_jobs_apart = async_method(_defer_jobs)

    async def defer_jobs_async(
        self, jobs: Sequence[NewJob], *, on_conflict: OnConflict = "raise"
    ) -> list[int | None]:
        """The async twin of ``defer_jobs``.

        Calls at the same time share a statement, unless they have a queueing lock, an idempotency key, a
        connection of their own, or more than ``SHARED`` jobs. Each is all or none as if it were alone.
        """
        check_new_jobs(jobs, on_conflict)
        with Deferral(self.telemetry, jobs) as deferral:
            jobs = apply_defer_middleware(self.defer_middleware, jobs)
            if (
                self._is_apart
                and len(jobs) <= SHARED
                # These may wait for the transaction of another session.
                and all(job.queueing_lock is None and job.idempotency_key is None for job in jobs)
            ):
                ids = await self._batcher().defer(jobs)
            else:
                ids = await self._defer_jobs_apart(jobs, on_conflict=on_conflict)
            deferral.succeeded(jobs, ids)
        return ids

    def _batcher(self) -> InsertBatcher:
        loop = asyncio.get_running_loop()
        batcher = self._batchers.get(loop)
        if batcher is None:
            batcher = self._batchers[loop] = InsertBatcher(self._defer_jobs_apart)
        return batcher
