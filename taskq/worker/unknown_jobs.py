"""Unknown jobs: of a task, or with arguments, that this worker does not know and another one may.

During a deploy the old workers meet jobs of the new code, and two programs may share a database. Such a job
goes back for other workers to take, and fails only when none has for a while. The first time is kept as a
failed attempt, which says since when, whichever worker has the job next; the times after it are not.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from taskq.escaping import get_logger
from taskq.exceptions import InvalidArguments, TaskNotFound
from taskq.job import FailedAttempt, JobStatus
from taskq.manager.outcome import Outcome
from taskq.worker.error_text import error_message, error_type, in_a_line

if TYPE_CHECKING:
    from taskq.worker.attempt import Attempt
    from taskq.worker.worker import Worker

logger: Final = get_logger("taskq.worker.attempt")

UnknownJob = TaskNotFound | InvalidArguments

_TYPES = {f"{kind.__module__}.{kind.__qualname__}" for kind in (TaskNotFound, InvalidArguments)}

# Soon enough for a worker that has just started, and few claims for one that never comes.
_SHORTEST = 1.0  # seconds
_LONGEST = 15.0  # seconds


async def outcome_of_unknown(attempt: "Attempt", worker: "Worker", error: UnknownJob) -> Outcome:
    """The outcome of a job that a worker does not know: back into the queue, or failed."""
    job, timeout = attempt.job, worker.options.unknown_job_timeout
    earlier = await worker.failed_attempts(job) if job.claim > 1 else ()
    wait = give_back_for(earlier, timeout=timeout, server_now=worker.server_now())
    if wait is None or job.unreadable:
        return attempt.fail(error)
    outcome = attempt.outcome(JobStatus.TODO, retry_in=wait, uncounted=True)
    if is_first(earlier):
        logger.warning(
            "job %s (%s) goes back for other workers, for %g s at most: %s",
            job.id,
            job.task_name,
            timeout,
            in_a_line(error),
            extra=attempt.log_facts("job_unknown"),
        )
        outcome.error_type = error_type(error)
        outcome.error_message = (
            f"{error_message(error)}; given back, for a worker that knows it, for {timeout:g} s"
        )
        outcome.error_traceback = ""
    return outcome


def is_first(earlier: Sequence[FailedAttempt]) -> bool:
    """Whether nobody has given the job back yet, after these failed attempts."""
    return not earlier or not _was_given_back(earlier[-1])


def give_back_for(
    earlier: Sequence[FailedAttempt], *, timeout: float, server_now: float
) -> float | None:
    """For how many seconds a job goes back that a worker does not know.

    Args:
        earlier: Its failed attempts, the first one first.
        timeout: For how many seconds it may go back and forth.
        server_now: The server's clock, in seconds since 1970.

    Returns:
        The seconds, each time more; None: its time is over.
    """
    since = server_now
    if not is_first(earlier) and isinstance(earlier[-1].failed_at, datetime):
        since = earlier[-1].failed_at.timestamp()
    waited = server_now - since
    left = timeout - waited
    return None if left <= 0 else min(max(waited / 2, _SHORTEST), _LONGEST, left)


def _was_given_back(attempt: FailedAttempt) -> bool:
    # What never began has no traceback; what failed in the end has one, and a retry by hand begins anew.
    return attempt.error_type in _TYPES and not attempt.error_traceback
