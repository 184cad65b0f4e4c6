"""Unknown jobs: of a task, or with arguments, that this worker does not know and another one may.

During a deploy the old workers meet jobs of the new code, and two programs may share a database. Such a job
goes back for other workers to take, and fails only when none has for a while. The first time is kept as a
failed attempt, which says since when, whichever worker has the job next; the times after it are not.
"""

from collections.abc import Sequence
from datetime import datetime

from taskq.exceptions import InvalidArguments, TaskNotFound
from taskq.job import FailedAttempt

UnknownJob = TaskNotFound | InvalidArguments

_TYPES = {f"{kind.__module__}.{kind.__qualname__}" for kind in (TaskNotFound, InvalidArguments)}

# Soon enough for a worker that has just started, and few claims for one that never comes.
_SHORTEST = 1.0  # seconds
_LONGEST = 15.0  # seconds


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
