"""Errors of encrypted jobs: what may be told and stored of them.

The message of an error may quote a value, and so may those of what caused it, its notes, and whatever else it
has: only its class is taken, and the places that it came through.
"""

import traceback
from collections.abc import Iterator
from typing import Any

from taskq.encryption import is_encrypted
from taskq.exceptions import ConcealedError
from taskq.groups import leaves_of
from taskq.job import Job
from taskq.task import Task
from taskq.worker.error_text import error_type

# Of each error the innermost ones, and of a chain the first ones.
_MOST_PLACES = 50
_MOST_ERRORS = 20


def conceals(job: Job, task: Task[..., Any] | None) -> bool:
    """Whether errors of a job are to be concealed.

    So are those of a job that was deferred in plain, before its task was encrypted, and those of one that is
    encrypted although its task is not any more.
    """
    return (task is not None and task.encrypted) or is_encrypted(job.task_kwargs)


def shown(job: Job, task: Task[..., Any] | None, error: BaseException) -> BaseException:
    """What stands for an error of a job wherever it is told: itself, unless it is to be concealed."""
    return concealed(error) if conceals(job, task) else error


def concealed(error: BaseException) -> ConcealedError:
    """What stands for an error whose text may quote a value."""
    if type(error) is ConcealedError:
        return error
    kind = error_type(error)
    return ConcealedError(
        f"{kind} was raised; its message is not kept, as the job is encrypted",
        error_type=kind,
        places="\n".join(_lines(error)) + "\n",
    )


def _lines(error: BaseException) -> Iterator[str]:
    for number, each in enumerate(_chain(error)):
        if number:
            yield "from:"
        yield error_type(each)
        # The lines of the source are not shown: what is run from a text may have a value in it.
        frames = list(traceback.walk_tb(each.__traceback__))
        for frame, line in frames[-_MOST_PLACES:]:
            yield f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}'
        if isinstance(each, BaseExceptionGroup):
            yield f"  of {', '.join(map(error_type, leaves_of(each)))}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < _MOST_ERRORS:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (
            None if current.__suppress_context__ else current.__context__
        )
