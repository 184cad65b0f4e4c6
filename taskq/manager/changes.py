"""What is changed about a job that is retried or rescheduled."""

from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from taskq.codec import explained, shown
from taskq.exceptions import InvalidJob, InvalidName, InvalidSchedule
from taskq.job import Name, Priority
from taskq.moment import TimeDeltaParams, moment_of, wait_of


class Changes(BaseModel):
    """A job's priority, queue and lock from now on; None: as they were."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True)

    priority: Priority | None = None
    queue: Name | None = None
    lock: Name | None = None

    @classmethod
    def of(cls, job_id: int, **given: Any) -> Self:
        """Check what somebody gave.

        Raises:
            InvalidJob: No job can have it.
        """
        try:
            return cls(**given)
        except ValidationError as error:
            name = str(error.errors(include_url=False)[0]["loc"][0])
            refusal = InvalidJob if name == "priority" else InvalidName
            raise refusal(
                f"job {job_id} cannot have {name}={shown(given[name])}: {explained(error, skip=1)}"
            ) from None


def refuse_both(what: str, **times: object) -> None:
    """Refuse a time and a wait for one and the same thing, given under their names.

    Raises:
        InvalidSchedule: Both are given.
    """
    if all(time is not None for time in times.values()):
        told = " and ".join(f"{name}={shown(time)}" for name, time in times.items())
        raise InvalidSchedule(f"{what} got {told}: give one of them")


def moment(name: str, value: datetime | None) -> datetime | None:
    """Check a time that somebody gave under a name.

    Raises:
        InvalidSchedule: No job can have it.
    """
    try:
        return None if value is None else moment_of(value)
    except ValueError as error:
        raise InvalidSchedule(f"no job can have {name}={shown(value)}, {error}") from None


def wait(name: str, value: timedelta | TimeDeltaParams | None) -> timedelta | None:
    """Check a wait that somebody gave under a name.

    Raises:
        InvalidSchedule: No job can have it.
    """
    try:
        return None if value is None else wait_of(value)
    except ValueError as error:
        raise InvalidSchedule(f"no job can have {name}={shown(value)}, {error}") from None
