"""Periodic tasks: jobs that the workers defer by themselves, at the times that a cron expression names."""

import inspect
import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, ClassVar, Literal, TypedDict
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSimError
from pydantic import BaseModel, ConfigDict, ValidationError

from taskq.cron import NAMED, Cron
from taskq.exceptions import InvalidOption, InvalidPeriodic
from taskq.job import Name, NewJob
from taskq.job_options import JobOptions
from taskq.messages import short_repr, validation_summary
from taskq.task import Task


class PeriodicDefaults(TypedDict, total=False):
    """What an app says for all of its periodic tasks.

    Attributes:
        max_delay: Seconds by which a tick may be late and is still deferred; 600 by default. Ticks
            that came while no worker ran are made up for as far back, but for those from before a worker
            first started with the task and its schedule.
    """

    max_delay: float


MAX_DELAY = 600.0

# Two workers that both defer a tick check a moment apart; and one that starts checks all that were missed.
_DELAYS = (1.0, 31 * 86400.0)  # seconds

# In the text of a time zone that has no name.
_ADDRESS = re.compile(" at 0x[0-9A-Fa-f]+")


class _Id(BaseModel):
    """What the table of ticks can hold."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True)

    periodic_id: Name | Literal[""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Periodic:
    """One period of a task.

    Attributes:
        task: The task; its jobs get the tick as ``timestamp``.
        cron: Five fields, or six with the seconds at the end, or a name such as ``@daily``.
        periodic_id: Tells the periods of one task apart.
        timezone: The time zone that the expression is meant in.
        options: What the jobs are deferred with, as for ``Task.configure``.
        ticks: When its ticks are.
    """

    task: Task[..., Any]
    cron: str
    periodic_id: str
    timezone: tzinfo
    options: JobOptions
    ticks: Cron

    @property
    def schedule(self) -> str:
        """The expression and the time zone as text: what differs from it is another schedule.

        The same in every process, also if the zone's text has an address, and plain enough for the database.
        """
        cron = " ".join(NAMED.get(self.cron, self.cron).split())
        return ascii(f"{cron} {_ADDRESS.sub('', str(self.timezone))}")[1:-1]

    def next_after(self, time: float) -> int:
        """The first tick after a time, both in seconds since 1970."""
        return self.ticks.next_after(time)

    def between(self, after: float, until: float) -> list[int]:
        """The ticks after a time and up to another, all in seconds since 1970."""
        return self.ticks.between(after, until)

    def job(self, tick: int) -> NewJob:
        """The job of a tick."""
        return self.task.configure(on_conflict="skip", **self.options).prepare(timestamp=tick)


def max_delay_of(defaults: PeriodicDefaults) -> float:
    """The seconds by which a tick may be late, from what an app says.

    Raises:
        InvalidOption: They make no sense, or something else is named.
    """
    for name in defaults.keys() - PeriodicDefaults.__annotations__.keys():
        raise InvalidOption(f"periodic_defaults has no {name!r}; it has max_delay")
    given: Any = defaults.get("max_delay", MAX_DELAY)
    # Written so that NaN is refused as well.
    if not (isinstance(given, int | float) and _DELAYS[0] <= given <= _DELAYS[1]):
        raise InvalidOption(
            f"periodic_defaults got max_delay={short_repr(given)}: give seconds, from {_DELAYS[0]:g} to "
            f"{_DELAYS[1]:g}"
        )
    return given


def periodic_of(
    task: Task[..., Any],
    *,
    cron: str,
    periodic_id: str,
    timezone: str | tzinfo,
    options: JobOptions,
) -> Periodic:
    """Declare a period of a task.

    Raises:
        InvalidPeriodic: The expression or the time zone is none, the expression never comes true, or
            the task takes no ``timestamp``.
        InvalidArguments: The task needs more than the timestamp and what ``task_kwargs`` gives it.
        InvalidJob: An option no job can have.
    """
    declared: object = task
    if not isinstance(declared, Task):
        raise InvalidPeriodic(
            f"{short_repr(declared)} is no task: write @app.periodic(…) above @app.task, so that it gets one"
        )
    zone = _zone(task.name, timezone)
    try:
        ticks = Cron(cron, zone)
        ticks.next_after(datetime.now(UTC).timestamp())
    except (CronSimError, AttributeError, TypeError) as error:
        raise InvalidPeriodic(
            f"task {task.name!r} got cron={short_repr(cron)}: {error}; give five fields as in "
            "'*/5 8-18 * * MON-FRI' (minute, hour, day, month, weekday), a sixth at the end for "
            f"seconds, or one of {', '.join(NAMED)}"
        ) from error
    except StopIteration:
        raise InvalidPeriodic(
            f"task {task.name!r} got cron={cron!r}, a time that never comes"
        ) from None
    if "timestamp" not in inspect.signature(task.func).parameters:
        raise InvalidPeriodic(
            f"task {task.name!r} is periodic and takes no timestamp: its jobs get the time of "
            "their tick, so declare it as in def task(timestamp: int)"
        )
    for name in ("connection", "on_conflict"):
        if name in options:
            raise InvalidPeriodic(
                f"task {task.name!r} got {name}, and a periodic task takes none: its jobs are deferred "
                "by the workers, and skipped if one with their queueing lock waits"
            )
    if options.get("expire_at") is not None:
        raise InvalidPeriodic(
            f"task {task.name!r} got expire_at, and a periodic task takes none: no tick after that time "
            "would run; give expire_in, which counts from each tick's defer"
        )
    if "idempotency_key" in options:
        raise InvalidPeriodic(
            f"task {task.name!r} got idempotency_key, and a periodic task takes none: no tick would be "
            "deferred while the job of the first one is kept; each tick is deferred once as it is"
        )
    try:
        _Id(periodic_id=periodic_id)
    except ValidationError as error:
        raise InvalidPeriodic(
            f"task {task.name!r} got periodic_id={short_repr(periodic_id)}: "
            f"{validation_summary(error, skip=1)}"
        ) from None
    period = Periodic(
        task=task,
        cron=cron,
        periodic_id=periodic_id,
        timezone=zone,
        options=options,
        ticks=ticks,
    )
    # Refuses now what could not be deferred at a tick; a blueprint has no keys yet.
    task.configure(on_conflict="skip", **options).check(timestamp=0)
    # By hand it is deferred without one, as type checkers see it: then this is its tick.
    task.arguments.fill("timestamp", lambda: int(datetime.now(UTC).timestamp()))
    return period


def _zone(task_name: str, timezone: str | tzinfo) -> tzinfo:
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, TypeError, ValueError, OSError) as error:
        raise InvalidPeriodic(
            f"task {task_name!r} got timezone={short_repr(timezone)}, which is not known here: give a "
            "name such as 'Europe/Berlin' (pip install tzdata if the system has none)"
        ) from error
