"""Values, faults and numbers as messages say them."""

import signal
from collections.abc import Iterable
from difflib import get_close_matches

from pydantic import ValidationError

from taskq.escaping import escaped

SHOWN_LENGTH = 100
_SHOWN_FAULTS = 3

# Characters that others are compared with: that takes a time that grows with their square.
_LONGEST_NAME = 500


def short_repr(value: object) -> str:
    """A value as an error message can show it: escaped, short, and whatever its repr does."""
    try:
        text = repr(value)
    except BaseException as error:  # a user's __repr__ must not hide what was wrong
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    return shortened(text)


def shortened(text: str) -> str:
    """A text as an error message can hold it."""
    return text if len(text) <= SHOWN_LENGTH else f"{text[:SHOWN_LENGTH]}…"


def first_line(error: BaseException) -> str:
    """What an error of the database says, without the statement and the values that were sent."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was meant, if one is close to what was given."""
    if len(name) > _LONGEST_NAME:
        return None
    return next(iter(get_close_matches(name, list(known), n=1)), None)


def shown_place(steps: Iterable[str | int]) -> str:
    """Where something is in a value: fields, indexes and keys, which may be whatever text."""
    return shortened(escaped(".".join(map(str, steps))))


def signal_name(number: int) -> str:
    """A signal by its name, as in ``SIGTERM``; one that has none by its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def counted(number: int, noun: str) -> str:
    """A number of things: ``1 job``, ``1,500 jobs``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def validation_summary(error: ValidationError, *, skip: int) -> str:
    """What pydantic found wrong, in a line; of each place the first ``skip`` steps are ours."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [
        f"at {shown_place(place)}: {escaped(fault['msg'])}" if place else escaped(fault["msg"])
        for fault in faults[:_SHOWN_FAULTS]
        for place in [fault["loc"][skip:]]
    ]
    if more := faults[_SHOWN_FAULTS:]:
        lines.append(f"and {len(more)} more")
    return "; ".join(lines)
