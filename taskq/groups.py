"""Exception groups, as they come out of an ``asyncio.TaskGroup``: what they hold, and what they mean."""

import asyncio
from collections.abc import Iterator

from taskq.exceptions import JobAborted, Retry, Snooze

# What a task says to its worker, the strongest first.
_SAYINGS = (JobAborted, Retry, Snooze)


def says_abort(error: BaseException) -> bool:
    """Whether a task says that it aborts; not if a job that it has waited for was aborted."""
    return isinstance(error, JobAborted) and error.job_id is None


def leaves_of(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that a group holds, at any depth; of anything else, itself."""
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseExceptionGroup):
            waiting = [*one.exceptions, *waiting]
        else:
            yield one


def errors_of(error: BaseException) -> list[BaseException]:
    """The leaves of an exception that are errors: neither a cancellation nor said to the worker."""
    return [
        leaf
        for leaf in leaves_of(error)
        if not isinstance(leaf, (Retry, Snooze, asyncio.CancelledError)) and not says_abort(leaf)
    ]


def meaning_of(error: BaseException) -> BaseException:
    """What a worker takes an exception for: a group without an error stands for one of its leaves.

    That is the first ``JobAborted`` in it, or else the first ``Retry``, ``Snooze`` or cancellation. A
    group with an error in it is itself.
    """
    if not isinstance(error, BaseExceptionGroup) or errors_of(error):
        return error
    leaves = list(leaves_of(error))
    for kind in (*_SAYINGS, asyncio.CancelledError):
        for leaf in leaves:
            if isinstance(leaf, kind):
                return leaf
    return error
