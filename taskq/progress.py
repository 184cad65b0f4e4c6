"""How far a job has come, as its task reports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import Any

from taskq.exceptions import InvalidProgress
from taskq.messages import short_repr
from taskq.unreadable import Unreadable

LONGEST_MESSAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProgress:
    """What a task reports.

    Attributes:
        done: How much is done, in whatever the task counts.
        total: Of how much; None: that is not known.
        message: What it does, for people; None: nothing is said.
    """

    done: float
    total: float | None = None
    message: str | None = None

    @classmethod
    def of(cls, done: object, total: object, message: object) -> "NewProgress":
        """Check what a task reports.

        Raises:
            InvalidProgress: It is no number, or one that JSON has none for, or no text that can be stored.
        """
        return cls(
            done=_number("done", done),
            total=None if total is None else _number("total", total),
            message=None if message is None else _text(message),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(NewProgress):
    """How far the latest attempt of a job has come.

    Attributes:
        done: How much is done, in whatever its task counts.
        total: Of how much; None: that is not known.
        message: What it does, for people; None: nothing is said.
        reported_at: When it was written, by the server's clock: up to a second after it was reported.
    """

    reported_at: datetime

    def __str__(self) -> str:
        """What people read: ``30 of 120 (25 %): fetching``."""
        text = _shown(self.done)
        if self.total is not None:
            text += f" of {_shown(self.total)}"
            if self.total > 0:
                text += f" ({100 * self.done / self.total:.0f} %)"
        return text if self.message is None else f"{text}: {self.message}"


def read_progress(stored: Any, claim: int) -> Progress | None:
    """What a row has of a job's progress; None if its latest claim has reported none that can be read.

    Args:
        stored: What the column has.
        claim: The job's latest claim.
    """
    if not isinstance(stored, Mapping) or isinstance(stored, Unreadable):
        return None
    if stored.get("claim") != claim:
        return None
    try:
        return Progress(
            done=_number("done", stored.get("done")),
            total=None if stored.get("total") is None else _number("total", stored["total"]),
            message=None if stored.get("message") is None else str(stored["message"]),
            reported_at=datetime.fromisoformat(stored["reported_at"]),
        )
    except (InvalidProgress, KeyError, TypeError, ValueError):
        return None  # written by hand


def _number(name: str, value: Any) -> float:
    if type(value) not in {int, float} or not _is_finite(value) or value < 0:
        raise InvalidProgress(
            f"{name}={short_repr(value)}: give a number, 0 or more, and not infinite"
        )
    number: float = value
    return number


def _is_finite(value: float) -> bool:
    try:
        return isfinite(value)
    except OverflowError:
        return False  # a whole number beyond what a float holds


def _text(value: object) -> str:
    if not isinstance(value, str) or not _is_storable(value):
        raise InvalidProgress(
            f"message={short_repr(value)}: give a text of {LONGEST_MESSAGE} characters at most, none of them "
            "NUL or half of a pair"
        )
    return value


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return len(text) <= LONGEST_MESSAGE and "\0" not in text


def _shown(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.6g}"
