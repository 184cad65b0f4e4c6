"""One that waits for a job to end."""

from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

from taskq.exceptions import DatabaseUnavailable, JobNotFound
from taskq.job import Job
from taskq.queries.job_wait import AwaitedJob, CheckedJobs


class Waiter:
    """One that waits for a job.

    Args:
        job_id: The job.
        accept: Called once if the job has not ended; what it raises, the waiter gets.
        exists: Whether the job is known to be there, or to have been.
    """

    def __init__(self, job_id: int, accept: Callable[[AwaitedJob], None], *, exists: bool) -> None:
        self.job_id = job_id
        self.ended: Future[Job] = Future()
        self._accept: Callable[[AwaitedJob], None] | None = accept
        self._exists = exists

    def answer(self, checked: CheckedJobs) -> None:
        """Take in what has become of the job."""
        if job := checked.ended.get(self.job_id):
            self._end(lambda: self.ended.set_result(job))
        elif (awaited := checked.awaited.get(self.job_id)) is None:
            self._end(lambda: self.ended.set_exception(self._not_found()))
        elif self._accept is not None:
            accept, self._accept, self._exists = self._accept, None, True
            try:
                accept(awaited)
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """End with an error."""
        self._end(lambda: self.ended.set_exception(error))

    def is_patient(self, error: Exception) -> bool:
        """Whether it goes on waiting: its job is there, and the database is just away."""
        return self._exists and isinstance(error, DatabaseUnavailable)

    def _end(self, end: Callable[[], None]) -> None:
        # It may have given up in this moment.
        with suppress(InvalidStateError):
            end()

    def _not_found(self) -> JobNotFound:
        if self._exists:
            return JobNotFound(
                f"job {self.job_id} was deleted while it was waited for, and how it ended is not known: was "
                "it cancelled with delete_job=True, or do workers run with delete_jobs, or keep what has "
                "ended for too short a time (retention)?"
            )
        return JobNotFound(
            f"no job has the id {self.job_id}, to be waited for: it may have been deleted, or the "
            "transaction that deferred it has not committed, or was rolled back"
        )
