"""What came of a job that a test has run."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from taskq.job import Job, JobStatus
from taskq.outcome import Ending

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran(Generic[T_co]):
    """What came of one attempt of a job.

    Attributes:
        job: The job, as it is after the attempt.
        ending: How the attempt ended: ``"succeeded"``, ``"retried"``, ``"failed"`` and so on.
        error: What it failed with, as it was raised; None: it did not.
        get_result: What ``result`` asks.
    """

    job: Job
    ending: Ending
    error: BaseException | None
    get_result: Callable[[], Any]

    @property
    def status(self) -> JobStatus:
        """What the job is now: todo, if it is to be run again."""
        return self.job.status

    @property
    def result(self) -> T_co:
        """What the task returned; if it stores that, as it was read back.

        Raises:
            AssertionError: It did not succeed; from the error with which it failed.
        """
        if self.ending is not Ending.SUCCEEDED:
            why = "" if self.error is None else f": {type(self.error).__name__}: {self.error}"
            raise AssertionError(
                f"job {self.job.id} ({self.job.task_name}) returned nothing, as its attempt "
                f"{self.job.attempt or 1} has {self.ending}{why}"
            ) from self.error
        result: T_co = self.get_result()
        return result
