"""The text of an error: what the database and the log hold of an exception, whatever its methods do."""

import traceback

from taskq.exceptions import ConcealedError
from taskq.messages import short_repr

_LONGEST_TEXT = 100_000  # characters


def error_type(error: BaseException) -> str:
    """The class of an exception, with its module."""
    if isinstance(error, ConcealedError):
        return error.error_type
    kind = type(error)
    return _text(f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins."))


def error_message(error: BaseException) -> str:
    """What an exception says, whatever its ``__str__`` does, as PostgreSQL can hold it."""
    try:
        return _text(str(error))
    except BaseException as own:
        return f"<its message cannot be shown: {type(own).__name__}>"


def error_traceback(error: BaseException) -> str:
    """An exception's traceback as Python prints it, whatever its attributes do."""
    if isinstance(error, ConcealedError):
        return _text(error.places)
    try:
        return _text("".join(traceback.format_exception(error)))
    except BaseException as own:
        return f"<its traceback cannot be shown: {type(own).__name__}>"


def in_a_line(error: BaseException) -> str:
    """An exception's class and message, for a record of the log."""
    # Whatever the message holds, it must not pass for other lines of the log.
    return f"{error_type(error)}: {short_repr(error_message(error))}"


def _text(text: str) -> str:
    storable = text.replace("\0", "\\x00").encode(errors="backslashreplace").decode()
    if len(storable) <= _LONGEST_TEXT:
        return storable
    half = _LONGEST_TEXT // 2
    return (
        f"{storable[:half]}\n… {len(storable) - 2 * half} characters left out …\n{storable[-half:]}"
    )
