"""The job manager: what may be done to jobs, each operation in a sync and an async face."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection

from taskq.database import Database
from taskq.exceptions import AlreadyEnqueued
from taskq.job import FailedAttempt, Job, JobStatus, NewJob
from taskq.manager import connections, operations
from taskq.manager.connections import AnyConnection
from taskq.manager.errors import translated
from taskq.manager.gathering import Gathering
from taskq.manager.operations import OnConflict

P = ParamSpec("P")
T = TypeVar("T")

# A call with more jobs makes a good statement by itself, and would keep the others waiting.
SHARED = 100


class JobManager:
    """Operates on the jobs of one database.

    Every operation takes ``connection``, in whose transaction it then happens: a SQLAlchemy
    ``Connection`` or ``Session``, or a ``psycopg.Connection``; for the async face their async twins.
    Without one it is a round trip of its own.

    All of them raise ``SchemaNotApplied`` on a database without taskq's schema, and
    ``DatabaseUnavailable`` if the database does not answer.

    Args:
        database: Where the jobs are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        # Of each event loop that has deferred something.
        self._gatherings: WeakKeyDictionary[asyncio.AbstractEventLoop, Gathering] = (
            WeakKeyDictionary()
        )

    def defer_jobs(
        self,
        jobs: Sequence[NewJob],
        *,
        on_conflict: OnConflict = "raise",
        connection: AnyConnection | None = None,
    ) -> list[int | None]:
        """Defer jobs, all or none, in one statement.

        Args:
            jobs: The jobs.
            on_conflict: What to do with a job whose queueing lock a job that waits already has.
            connection: In whose transaction; see the class.

        Returns:
            Their ids, in the same order, with None for a job that was skipped.

        Raises:
            AlreadyEnqueued: A job with the queueing lock of one of them waits already.
        """
        own = connection is None
        defer = partial(operations.defer_jobs, on_conflict=on_conflict, own_transaction=own)
        try:
            return self._run(connection, defer, jobs)
        except AlreadyEnqueued as error:
            # It came in the same moment, and only now can the database tell its id.
            if error.job_id is not None or not own:
                raise
        return self._run(None, defer, jobs)

    async def defer_jobs_async(
        self,
        jobs: Sequence[NewJob],
        *,
        on_conflict: OnConflict = "raise",
        connection: AnyConnection | None = None,
    ) -> list[int | None]:
        """The async face of ``defer_jobs``.

        Calls at the same time share a statement, unless they have a queueing lock, a connection of
        their own, or more than ``SHARED`` jobs. Each is all or none as if it were alone.
        """
        own = connection is None
        if own and len(jobs) <= SHARED and all(job.queueing_lock is None for job in jobs):
            return await self._gathering().defer(jobs)
        defer = partial(operations.defer_jobs, on_conflict=on_conflict, own_transaction=own)
        try:
            return await self._run_async(connection, defer, jobs)
        except AlreadyEnqueued as error:
            if error.job_id is not None or not own:
                raise
        return await self._run_async(None, defer, jobs)

    def _gathering(self) -> Gathering:
        loop = asyncio.get_running_loop()
        gathering = self._gatherings.get(loop)
        if gathering is None:
            defer = partial(operations.defer_jobs, on_conflict="raise", own_transaction=True)

            async def send(jobs: Sequence[NewJob]) -> list[int | None]:
                return await self._run_async(None, defer, jobs)

            gathering = self._gatherings[loop] = Gathering(send)
        return gathering

    def get_job(self, job_id: int, *, connection: AnyConnection | None = None) -> Job:
        """Read a job.

        Raises:
            JobNotFound: There is none with that id.
        """
        return self._run(connection, operations.get_job, job_id)

    async def get_job_async(self, job_id: int, *, connection: AnyConnection | None = None) -> Job:
        """The async face of ``get_job``."""
        return await self._run_async(connection, operations.get_job, job_id)

    def get_job_status(self, job_id: int, *, connection: AnyConnection | None = None) -> JobStatus:
        """Read where a job stands.

        Raises:
            JobNotFound: There is none with that id.
        """
        return self.get_job(job_id, connection=connection).status

    async def get_job_status_async(
        self, job_id: int, *, connection: AnyConnection | None = None
    ) -> JobStatus:
        """The async face of ``get_job_status``."""
        return (await self.get_job_async(job_id, connection=connection)).status

    def list_jobs(
        self, ids: Iterable[int], *, connection: AnyConnection | None = None
    ) -> list[Job]:
        """Read some jobs, in the order of their ids; those that are not there are left out."""
        return self._run(connection, operations.list_jobs, ids)

    async def list_jobs_async(
        self, ids: Iterable[int], *, connection: AnyConnection | None = None
    ) -> list[Job]:
        """The async face of ``list_jobs``."""
        return await self._run_async(connection, operations.list_jobs, ids)

    def list_alive_jobs(
        self, ids: Iterable[int], *, connection: AnyConnection | None = None
    ) -> list[int]:
        """Find out which of some jobs have not ended, by their ids and in their order."""
        return self._run(connection, operations.list_alive_jobs, ids)

    async def list_alive_jobs_async(
        self, ids: Iterable[int], *, connection: AnyConnection | None = None
    ) -> list[int]:
        """The async face of ``list_alive_jobs``."""
        return await self._run_async(connection, operations.list_alive_jobs, ids)

    def list_failed_attempts(
        self, job_id: int, *, connection: AnyConnection | None = None
    ) -> list[FailedAttempt]:
        """Read why a job's attempts failed, the first one first; empty if none did."""
        return self._run(connection, operations.list_failed_attempts, job_id)

    async def list_failed_attempts_async(
        self, job_id: int, *, connection: AnyConnection | None = None
    ) -> list[FailedAttempt]:
        """The async face of ``list_failed_attempts``."""
        return await self._run_async(connection, operations.list_failed_attempts, job_id)

    def count_jobs(
        self, *, connection: AnyConnection | None = None
    ) -> dict[tuple[str, str, JobStatus], int]:
        """Count the jobs of each queue, task and status. It reads the whole table."""
        return self._run(connection, operations.count_jobs)

    async def count_jobs_async(
        self, *, connection: AnyConnection | None = None
    ) -> dict[tuple[str, str, JobStatus], int]:
        """The async face of ``count_jobs``."""
        return await self._run_async(connection, operations.count_jobs)

    def cancel_job_by_id(
        self,
        job_id: int,
        abort: bool = False,
        delete_job: bool = False,
        *,
        connection: AnyConnection | None = None,
    ) -> bool:
        """Cancel a job that waits, or have one that runs aborted.

        Args:
            job_id: The job.
            abort: If it runs, ask its worker to abort it. An async task is cancelled; a sync task
                has to ask ``context.should_abort()``.
            delete_job: If it waits, delete it rather than keep it as cancelled.
            connection: In whose transaction; see the class.

        Returns:
            Whether it was cancelled, deleted or asked to abort; False for one that is final, and for
            one that runs if ``abort`` is not set.

        Raises:
            JobNotFound: There is none with that id.
        """
        return self._run(
            connection, operations.cancel_job, job_id, abort=abort, delete_job=delete_job
        )

    async def cancel_job_by_id_async(
        self,
        job_id: int,
        abort: bool = False,
        delete_job: bool = False,
        *,
        connection: AnyConnection | None = None,
    ) -> bool:
        """The async face of ``cancel_job_by_id``."""
        return await self._run_async(
            connection, operations.cancel_job, job_id, abort=abort, delete_job=delete_job
        )

    def _run(
        self,
        connection: AnyConnection | None,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with translated():
            if connection is not None:
                return connections.run(connection, operation, *args, **kwargs)
            with self.database.engine.connect() as own:
                return operation(own, *args, **kwargs)

    async def _run_async(
        self,
        connection: AnyConnection | None,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        with translated():
            if connection is not None:
                return await connections.run_async(connection, operation, *args, **kwargs)
            return await connections.run_pooled(
                self.database.async_engine, operation, *args, **kwargs
            )
