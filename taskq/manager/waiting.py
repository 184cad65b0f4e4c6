"""The waiting part of the job manager: until a job has ended."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from sqlalchemy.util import await_only

from taskq.current_job import current_job
from taskq.database.sync_async import async_method
from taskq.escaping import get_logger
from taskq.exceptions import InvalidDatabase, InvalidOption
from taskq.job import Job
from taskq.manager.bounds import check_id, check_timeout
from taskq.manager.operations import JobOperations
from taskq.messages import short_repr
from taskq.queries.job_wait import AwaitedJob

logger: Final = get_logger("taskq.manager.waiting")


class Waiting(JobOperations):
    """What may be waited for."""

    def wait_for_job(self, job_id: int, *, timeout: float | timedelta | None = None) -> Job:
        """Wait until a job has ended, in whatever way.

        It is notified of the end, by one connection for all that wait in this process; behind a pooler that
        does not keep sessions it asks once a second. A job that fails and is to be retried has not ended.

        Args:
            job_id: The job.
            timeout: In seconds, or a ``timedelta``; None: for ever.

        Returns:
            The job as it was when its end was seen.

        Raises:
            WaitTimeout: It has not ended by then; it is left alone.
            JobNotFound: There is none with that id, or it was deleted before its end could be seen.
            InvalidFilter: It is no id.
            InvalidOption: The timeout is no time, or it is the job that waits here itself.
            InvalidDatabase: It is to be in the transaction of a connection.
            NotPermitted: The role may not read jobs.
        """
        return self._wait_for_job(job_id, timeout, lambda job: None)

    wait_for_job_async: Final = async_method(wait_for_job)

    def _wait_for_job(
        self,
        job_id: int,
        timeout: float | timedelta | None,
        accept: Callable[[AwaitedJob], None],
        *,
        exists: bool = False,
    ) -> Job:
        """Wait for a job.

        Args:
            job_id: The job.
            timeout: As for ``wait_for_job``.
            accept: Called with the job if it has not ended, in another thread; what it raises is raised here.
            exists: Whether the job is known to be there, or to have been.
        """
        check_id("job_id", job_id)
        seconds = check_timeout("timeout", timeout, InvalidOption)
        if self.in_transaction:
            raise InvalidDatabase(
                f"job {job_id} cannot be waited for in a transaction, which keeps others waiting meanwhile: "
                "call wait_for_job on app.job_manager itself, after the commit"
            )
        waiting = current_job.get()
        if waiting is not None:
            self._check_waiting_job(waiting, job_id)

        def seen(job: AwaitedJob) -> None:
            accept(job)
            if waiting is not None and job.queue == waiting.queue:
                logger.warning(
                    "job %s (%s) waits for job %s of the same queue, %s: when all that its workers run "
                    "waits for others of the queue, none of those runs; give what is waited for a queue and "
                    "a worker of its own",
                    waiting.id,
                    short_repr(waiting.task_name),
                    job_id,
                    short_repr(job.queue),
                    extra={
                        "action": "waiting_in_queue",
                        "job_id": waiting.id,
                        "task_name": waiting.task_name,
                        "awaited_job_id": job_id,
                        "queue_name": job.queue,
                    },
                )

        waiters = self.database.waiters
        if self._awaits:
            return await_only(waiters.wait_async(job_id, seen, seconds, exists=exists))
        return waiters.wait(job_id, seen, seconds, exists=exists)

    _wait_for_job_async = async_method(_wait_for_job)

    def _check_waiting_job(self, waiting: Job, job_id: int) -> None:
        if waiting.id == job_id:
            raise InvalidOption(
                f"job {job_id} waits for itself, and would never end: wait for another one"
            )
        if not self._awaits and asyncio._get_running_loop() is not None:
            raise RuntimeError(
                f"to wait for job {job_id} would block the event loop of the worker, which may be the one "
                "that is to run it: await the async twin, as in wait_for_job_async(…), wait_async(…) or "
                "defer_and_wait_async(…)"
            )
