"""Crossing: values, exceptions and records of the log, on their way out of a process and back."""

import logging
import pickle
from collections.abc import Mapping
from typing import Any, cast

from taskq.exceptions import InvalidResult, TaskProcessError
from taskq.job import Job
from taskq.messages import short_repr
from taskq.worker.error_text import error_message, error_traceback, error_type, in_a_line
from taskq.worker.process_pool.messages import Logged, Raised, Returned

_formatter = logging.Formatter()


class RemoteTraceback(Exception):  # noqa: N818 - as concurrent.futures has it
    """The cause of an exception that a process has sent: where it was raised there."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


# What cannot be pickled may raise anything, as may the methods of the user's own class.


def pack_result(value: object) -> Returned:
    """What a task returned."""
    try:
        return Returned(pickle.dumps(value))
    except Exception as error:
        return Returned(None, in_a_line(error))


def unpack_result(returned: Returned, job: Job, *, is_stored: bool) -> Any:
    """What a task returned, in the worker; None if it cannot cross and is not needed.

    Raises:
        InvalidResult: It cannot cross, and is to be stored.
    """
    problem = returned.problem
    if returned.value is not None:
        try:
            return pickle.loads(returned.value)  # noqa: S301 - from a process of this worker
        except Exception as error:
            problem = in_a_line(error)
    if not is_stored:
        return None
    raise InvalidResult(
        f"the result of job {job.id} ({job.task_name}) cannot be passed from its process to the worker "
        f"({problem}): return plain values, or an object whose class is at the top of a module"
    )


def pack_error(error: BaseException) -> Raised:
    """What a task raised."""
    return Raised(
        _pickled_error(error), error_type(error), error_message(error), error_traceback(error)
    )


def unpack_error(raised: Raised) -> BaseException:
    """What a task raised, in the worker: the same exception, or what stands for it."""
    error: object = None
    if raised.error is not None:
        try:
            error = _put_together(pickle.loads(raised.error))  # noqa: S301 - likewise
        except Exception:
            error = None
    if not isinstance(error, BaseException):
        error = TaskProcessError(f"{raised.error_type}: {raised.message}")
    error.__cause__ = RemoteTraceback(raised.traceback)
    return error


def pack_record(record: logging.LogRecord) -> Logged:
    """A record of the log, with its text made here: what is in it need not be able to cross."""
    values = dict(vars(record))
    values["msg"], values["args"] = record.getMessage(), None
    if record.exc_info and not record.exc_text:
        values["exc_text"] = _formatter.formatException(record.exc_info)
    values["exc_info"] = None
    return Logged({name: _or_text(value) for name, value in values.items()})


def pack_additional(values: Mapping[str, Any]) -> tuple[dict[str, bytes], dict[str, str]]:
    """What is in an additional context: what can cross, pickled, and why the rest cannot."""
    packed: dict[str, bytes] = {}
    left_out: dict[str, str] = {}
    for name, value in values.items():
        try:
            packed[name] = pickle.dumps(value)
        except Exception as error:
            left_out[name] = in_a_line(error)
    return packed, left_out


def _or_text(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    try:
        pickle.dumps(value)
    except Exception:
        return short_repr(value)
    return value


def _pickled_error(error: BaseException) -> bytes | None:
    try:
        pickled = pickle.dumps(_taken_apart(error))
        _put_together(pickle.loads(pickled))  # noqa: S301 - what was just made
    except Exception:
        return None
    return pickled


def _taken_apart(error: BaseException) -> tuple[Any, ...]:
    # pickle calls the class with what its base class got, which many do not take, or take for something else.
    try:
        pickled = pickle.dumps(error)
        again = pickle.loads(pickled)  # noqa: S301 - likewise
        if type(again) is type(error) and error_message(again) == error_message(error):
            return (pickled,)
    except Exception:
        again = None
    if isinstance(error, BaseExceptionGroup):
        parts = [_taken_apart(part) for part in error.exceptions]
        return type(error), error.message, parts, dict(vars(error))
    return type(error), error.args, dict(vars(error))


def _put_together(parts: tuple[Any, ...]) -> BaseException:
    error: BaseException
    match parts:
        case (bytes() as pickled,):
            return cast("BaseException", pickle.loads(pickled))  # noqa: S301 - likewise
        case (kind, str() as message, list() as exceptions, state):
            error = kind(message, [_put_together(part) for part in exceptions])
        case (kind, arguments, state):
            error = kind.__new__(kind, *arguments)
        case _:
            raise TypeError(parts)
    vars(error).update(state)
    return error
