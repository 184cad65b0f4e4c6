"""Unknown jobs: of a task, or with arguments, that this worker does not know and another one may.

During a deploy the old workers meet jobs of the new code, and two programs may share a database. Such a job
goes back for other workers to take, and fails only when none has for a while. The table has how often in a
row it went back, for whichever worker has it next. What counts is for how long it was offered, and not the
time since: while no worker runs, none can take it. The first time is kept as a failed attempt, to say why.
"""

from typing import TYPE_CHECKING, Final

from taskq.escaping import get_logger
from taskq.exceptions import InvalidArguments, JobGivenBack, TaskNotFound
from taskq.job import JobStatus
from taskq.outcome import Outcome
from taskq.worker.error_text import error_message, in_a_line

if TYPE_CHECKING:
    from taskq.worker.attempt import Attempt

logger: Final = get_logger("taskq.worker.unknown_jobs")

# Soon enough for a worker that has just started, and few claims for one that never comes.
_SHORTEST = 1.0  # seconds
_LONGEST = 15.0  # seconds


def outcome_of_unknown(
    attempt: "Attempt", error: TaskNotFound | InvalidArguments, *, timeout: float
) -> Outcome:
    """The outcome of a job that its worker does not know: back into the queue, or failed.

    Args:
        attempt: The attempt, which has not begun.
        error: What the worker does not know.
        timeout: For how many seconds the job is offered to others.
    """
    job = attempt.job
    wait = wait_before_next(job.given_back, timeout=timeout)
    if wait is None or job.unreadable:
        return attempt.fail(error)
    why = None
    if not job.given_back:
        logger.warning(
            "job %s (%s) goes back for other workers, for %g s at most: %s",
            job.id,
            job.task_name,
            timeout,
            in_a_line(error),
            extra=attempt.log_facts("job_unknown"),
        )
        why = JobGivenBack(
            f"for a worker that knows it, if one comes within {timeout:g} s: {error_message(error)}"
        )
    return attempt.outcome(
        JobStatus.TODO,
        error=why,
        retry_in=wait,
        uncounted=True,
        given_back=job.given_back + 1,
    )


def wait_before_next(given_back: int, *, timeout: float) -> float | None:
    """For how many seconds a job goes back, each time more.

    Args:
        given_back: How often in a row it went back so far.
        timeout: For how many seconds in all.

    Returns:
        The seconds; None: its time is over.
    """
    waited, wait = 0.0, _SHORTEST
    for _ in range(given_back):
        if waited >= timeout:
            return None
        waited += wait
        wait = min(max(waited / 2, _SHORTEST), _LONGEST)
    return min(wait, timeout - waited) if waited < timeout else None
