"""Values of a row that Python cannot read: each stands in the place of one, and says what was there.

The database holds more than Python: numbers of any length, JSON of any depth, times without end. What
cannot be read of one row must not keep others from being read with it.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic_core import from_json

from taskq.exceptions import UnreadableValue
from taskq.messages import SHOWN_LENGTH, shortened

# Time zones move them, and they have to stay within Python's years.
_FIRST = datetime(1, 1, 3, tzinfo=UTC)
_LAST = datetime(9999, 12, 29, tzinfo=UTC)


class Unreadable:
    """A value that Python cannot read.

    Attributes:
        text: What the database has, at most its first hundred characters.
        reason: Why it cannot be read.
    """

    text: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"unreadable: {self.text} ({self.reason})"

    # It is copied with the job that has it, as by ``asdict``.
    def __deepcopy__(self, memo: object) -> Self:
        return self


class UnreadableJson(Unreadable, Mapping[str, Any]):
    """JSON that Python cannot read. To read of it raises ``UnreadableValue``."""

    def __init__(self, text: str, reason: str) -> None:
        self.text: str = shortened(text)
        self.reason: str = reason

    def __getitem__(self, key: str) -> Any:
        raise self._error()

    def __iter__(self) -> Iterator[str]:
        raise self._error()

    def __len__(self) -> int:
        raise self._error()

    def __repr__(self) -> str:
        return f"<UnreadableJson {self.text!r}: {self.reason}>"

    def _error(self) -> UnreadableValue:
        return UnreadableValue(f"the JSON {self.text!r} cannot be read: {self.reason}")


class UnreadableTime(Unreadable, datetime):
    """A time before or after Python's years, such as infinity: the first or the last that Python has.

    So it can be compared with others.
    """

    @classmethod
    def of(cls, text: str, reason: str) -> Self:
        """The one that stands for a time as PostgreSQL writes it."""
        near = _FIRST if text.startswith("-") or text.endswith("BC") else _LAST
        time = cls(near.year, near.month, near.day, tzinfo=UTC)
        time.text, time.reason = shortened(text), reason
        return time

    def __str__(self) -> str:
        return Unreadable.__str__(self)


def read_json(data: bytes | str) -> Any:
    """Read JSON from the database; what cannot be read becomes an ``UnreadableJson``.

    By pydantic's parser, in a third of the time that the standard library takes.
    """
    try:
        return from_json(data)
    except ValueError as error:
        text = data if isinstance(data, str) else data[: 4 * SHOWN_LENGTH].decode(errors="replace")
        return UnreadableJson(text, str(error))


def read_object(value: Any) -> Mapping[str, Any] | None:
    """A JSON object from the database, or null; what is neither becomes an ``UnreadableJson``."""
    if value is None or isinstance(value, Mapping):
        return value
    return UnreadableJson(json.dumps(value), "it is no JSON object")
