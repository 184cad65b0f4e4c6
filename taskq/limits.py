"""Limits: how many jobs may run at once, and how many may start in a time, over all workers.

The vocabulary is that of Inngest and Oban: a *concurrency* counts what runs, a *rate* what starts, by the
generic cell rate algorithm. The database decides (``taskq_limit_state``); what is declared here is written
there when a worker of the app starts.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import JsonValue

from taskq.exceptions import InvalidLimit
from taskq.job import NAME_LENGTH
from taskq.messages import short_repr
from taskq.times import LONGEST_WAIT

_MOST = 2**31 - 1  # of the columns' type


@dataclass(frozen=True, slots=True)
class Limit:
    """How many jobs may run at once, or start within a time, of all that have this limit.

    ``Limit("tenant", concurrency=2, by="account")`` has a room for each value of the task's argument
    ``account``, ``Limit("stripe", rate=100, per=timedelta(seconds=1))`` one for all. With a rate jobs start
    evenly spaced, each ``per / rate`` after the one before; with a ``burst`` so many may start at once after
    a time without any.

    Attributes:
        name: What it is called in the database: all limits of one name are one limit. Without a colon.
        concurrency: How many jobs may run at once; None: any number.
        rate: How many jobs may start within ``per``; None: any number.
        per: A ``timedelta``, or seconds.
        burst: How many may start at once, of those that the rate allows; 1 if nothing is said. Then no time
            of the length ``per``, wherever it begins, has more starts than ``rate``; with more it has ``burst
            - 1`` more at most.
        by: The argument, or several, by whose value there is a room each; None: one room for all.

    Raises:
        InvalidLimit: One of them makes no sense; the message says which.
    """

    name: str
    _: KW_ONLY
    concurrency: int | None = None
    rate: int | None = None
    per: timedelta | float | None = None
    burst: int | None = None
    by: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        check_limit_name(self.name)
        check_figures(self.name, self.concurrency, self.rate, self.per, self.burst)
        if self.concurrency is None and self.rate is None:
            raise InvalidLimit(
                f"limit {self.name!r} limits nothing: give concurrency=, or rate= and per="
            )
        by: object = self.by
        if isinstance(by, str) or by is None:
            return
        if not isinstance(by, Sequence) or not by or any(not isinstance(each, str) for each in by):
            raise _unfit(self.name, "by", by, "it is the name of an argument, or several")
        # Of any sequence, one that can be compared and hashed.
        object.__setattr__(self, "by", tuple(by))

    @property
    def arguments(self) -> tuple[str, ...]:
        """The names of the arguments by whose values there is a room each."""
        if self.by is None:
            return ()
        return (self.by,) if isinstance(self.by, str) else tuple(self.by)

    @property
    def figures(self) -> "LimitFigures":
        """What it allows."""
        return LimitFigures(self.concurrency, self.rate, seconds_of(self.per), self.all_burst)

    @property
    def all_burst(self) -> int | None:
        """How many may start at once; None: it has no rate."""
        return None if self.rate is None else self.burst or 1

    def key_of(self, values: Sequence[JsonValue]) -> str | None:
        """The key of a job by the values of its arguments; None: there is one room for all.

        Text is taken as it is, anything else as JSON writes it. Of several, each colon and backslash in them
        is marked with a backslash, and a colon is between them.
        """
        texts = [key_text(value) for value in values]
        if len(texts) < 2:
            return texts[0] if texts else None
        return ":".join(text.replace("\\", "\\\\").replace(":", "\\:") for text in texts)


@dataclass(frozen=True, slots=True)
class LimitFigures:
    """What a limit allows; None: nothing is said.

    Attributes:
        concurrency: How many jobs may run at once.
        rate: How many may start within ``per``.
        per: In seconds.
        burst: How many of these may start at once.
    """

    concurrency: int | None
    rate: int | None
    per: float | None
    burst: int | None

    def __str__(self) -> str:
        parts = [] if self.concurrency is None else [f"{self.concurrency:,} at once"]
        if self.rate is not None:
            parts.append(f"{self.rate:,} per {self.per:g} s")
            if self.burst != 1:
                parts.append(f"{self.burst:,} of them at once")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """What a limit allows one key, and how full it is.

    Attributes:
        name: The limit.
        key: The key that has a room of its own; None: all, or the limit itself.
        figures: What it allows; None: it is not declared, and no job of it starts.
        by_operator: Whether an operator has said something of it, with ``set_limit``.
        said_by: Who said what goes before all else that is said of it: an operator, or the worker whose app
            declared it; None: none has, or it is not given.
        queues: The queues all of whose jobs count in it.
        running: How many jobs that count in it run.
        room: How many more may start now; None: any number.
        waiting: How many jobs wait for it and for nothing else.
        next_at: When its rate lets the next job start; None: it lets one start now, or it is not the rate
            that bars it.
    """

    name: str
    key: str | None
    figures: LimitFigures | None
    by_operator: bool
    said_by: str | None
    queues: tuple[str, ...]
    running: int
    room: int | None
    waiting: int
    next_at: datetime | None


class KnownLimits:
    """The limits that an app knows: those of its tasks and queues, and those that jobs were deferred with."""

    def __init__(self) -> None:
        self._limits: dict[str, Limit] = {}

    def __len__(self) -> int:
        return len(self._limits)

    def __iter__(self) -> Iterator[Limit]:
        return iter(tuple(self._limits.values()))

    def __contains__(self, name: object) -> bool:
        return name in self._limits

    def add(self, limit: Limit) -> None:
        """Take one in.

        Raises:
            InvalidLimit: There is one of that name that allows something else.
        """
        known = self._limits.setdefault(limit.name, limit)
        if known is not limit and known.figures != limit.figures:
            raise InvalidLimit(
                f"limit {limit.name!r} is declared twice: with {known.figures}, and with {limit.figures}; "
                "make it once, and use that, or give them two names"
            )


def check_limit_name(name: object) -> None:
    """Refuse what cannot be the name of a limit.

    Raises:
        InvalidLimit: It is no text, empty, too long, or has a colon, which a key begins with.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_LENGTH or set(name) & {":", "\0"}:
        raise InvalidLimit(
            f"{short_repr(name)} is no name of a limit: it has 1 to {NAME_LENGTH} characters, and no colon "
            "among them"
        )


def check_limit(value: object, *, of: str) -> Limit:
    """Refuse what is no limit.

    Args:
        value: What was given.
        of: Whose it is to be, for the message.

    Raises:
        InvalidLimit: It is none.
    """
    if not isinstance(value, Limit):
        raise InvalidLimit(
            f"{of} got limit={short_repr(value)}: give a taskq.Limit, as in "
            "Limit('tenant', concurrency=2)"
        )
    return value


def check_queue_limit(queue: str, value: object) -> Limit:
    """Refuse what is no limit, or none that all jobs of a queue can have.

    Raises:
        InvalidLimit: It is none.
    """
    limit = check_limit(value, of=f"queue {queue!r}")
    if limit.by is not None:
        raise InvalidLimit(
            f"queue {queue!r} got limit {limit.name!r}, which is by {limit.by!r}: jobs of a queue have no "
            "arguments in common; give that limit to the tasks"
        )
    return limit


def check_figures(name: str, concurrency: object, rate: object, per: object, burst: object) -> None:
    """Refuse figures that make no sense.

    Raises:
        InvalidLimit: A number is none from 1, or a rate has no time, or the other way round.
    """
    for figure, value in (("concurrency", concurrency), ("rate", rate), ("burst", burst)):
        if value is not None and (type(value) is not int or not 1 <= value <= _MOST):
            hint = "; to stop jobs, pause their task or queue" if value == 0 else ""
            raise _unfit(name, figure, value, f"it is a number from 1{hint}")
    if (rate is None) != (per is None):
        given = f"rate={rate}" if per is None else f"per={per}"
        raise InvalidLimit(
            f"limit {name!r} got {given} alone: a rate is so many per time, as in rate=100, "
            "per=timedelta(seconds=1)"
        )
    if burst is not None and rate is None:
        raise InvalidLimit(f"limit {name!r} got burst={burst} without a rate that it is of")
    if per is not None:
        seconds = seconds_of(per) if isinstance(per, timedelta | float | int) else None
        if (
            isinstance(per, bool)
            or seconds is None
            or not 0.000001 <= seconds <= LONGEST_WAIT.total_seconds()
        ):
            raise _unfit(
                name,
                "per",
                per,
                "it is a timedelta, or seconds: from a microsecond to a hundred years",
            )


def key_text(value: JsonValue) -> str:
    """What a key has of the value of an argument: text as it is, anything else as JSON writes it."""
    return value if isinstance(value, str) else _json(value)


def split_key(limit_key: str) -> tuple[str, str | None]:
    """The name and the key of what the database calls a limit, as tenant:acme."""
    name, colon, key = limit_key.partition(":")
    return name, key if colon else None


def joined_key(name: str, key: object) -> str:
    """What the database calls a limit, or one key of it.

    Raises:
        InvalidLimit: It is no text, or too long.
    """
    if key is not None and (not isinstance(key, str) or "\0" in key):
        raise InvalidLimit(
            f"limit {name!r} got the key {short_repr(key)}: it is text, without NUL characters"
        )
    joined = name if key is None else f"{name}:{key}"
    if len(joined) > NAME_LENGTH:
        raise InvalidLimit(
            f"the key {short_repr(key)} of limit {name!r} is too long: both and the colon between them have "
            f"{NAME_LENGTH} characters at most, and these have {len(joined):,}; take a hash of it"
        )
    return joined


def seconds_of(per: Any) -> float | None:
    """A time in seconds; None: none."""
    return per.total_seconds() if isinstance(per, timedelta) else per


def _json(value: JsonValue) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _unfit(name: str, figure: str, value: object, hint: str) -> InvalidLimit:
    return InvalidLimit(f"limit {name!r} got {figure}={short_repr(value)}: {hint}")
