"""Which jobs are meant: the filters of ``jobs list`` in an address."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from taskq.exceptions import InvalidFilter
from taskq.manager import JobManager
from taskq.messages import short_repr
from taskq.times import past_of

# What is said several times, what is a number, a time, and what is text; by the name that the job manager
# has.
_SEVERAL = {"status": "status", "tag": "tags"}
_NUMBERS = {"worker": "worker_id"}
_TIMES = ("deferred_after", "deferred_before", "finished_after", "finished_before")
_TEXTS = ("queue", "task", "lock", "queueing_lock", "limit_key", "error")
NAMES = (*_TEXTS, *_SEVERAL, *_NUMBERS, *_TIMES, "args")


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters, as they were said.

    Attributes:
        said: What was said, by its name in the address: lists where several may be, and text otherwise.
    """

    said: Mapping[str, Any]

    @classmethod
    def of(cls, fields: Iterable[tuple[str, str]], *, beside: Iterable[str] = ()) -> "Filters":
        """Take them out of an address or a form. What is empty is not said.

        Args:
            fields: The fields.
            beside: What other fields there may be.

        Raises:
            InvalidFilter: There is a field that is neither.
        """
        said: dict[str, Any] = {}
        for name, value in fields:
            if name in beside:
                continue
            if name not in NAMES:
                raise InvalidFilter(
                    f"jobs cannot be filtered by {short_repr(name)}: there are {', '.join(NAMES)}"
                )
            if value.strip() == "":
                continue
            if name in _SEVERAL:
                said.setdefault(name, []).append(value)
            elif said.setdefault(name, value) != value:
                raise InvalidFilter(f"the filter {name} is said twice, and not of the same")
        return cls(said)

    async def resolve(self, jobs: JobManager) -> dict[str, Any]:
        """What the job manager takes. How long ago something was goes by the server's clock.

        Raises:
            InvalidFilter: A value makes no sense.
        """
        resolved: dict[str, Any] = {}
        for name, value in self.said.items():
            if name in _NUMBERS:
                resolved[_NUMBERS[name]] = _number(name, value)
            elif name in _TIMES:
                resolved[name] = _time(name, value)
            elif name == "args":
                resolved["task_kwargs"] = _arguments(value)
            else:
                resolved[_SEVERAL.get(name, name)] = value
        if ages := {n: age for n, age in resolved.items() if isinstance(age, timedelta)}:
            now = await jobs.get_server_time_async()
            resolved |= {name: now - age for name, age in ages.items()}
        return resolved


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidFilter(f"the filter {name}={short_repr(value)} is no number") from None


def _time(name: str, value: str) -> Any:
    try:
        return past_of(value.strip())
    except ValueError as error:
        raise InvalidFilter(f"the filter {name} makes no sense: {error}") from None


def _arguments(value: str) -> Mapping[str, Any]:
    try:
        given = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidFilter(f"the filter args is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise InvalidFilter(
            """the filter args is no JSON object: give arguments by name, as in {"user_id": 1}"""
        )
    return given


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")
