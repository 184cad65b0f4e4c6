"""What a caller may ask for: ids, numbers, times and switches, checked before anything is sent.

What the database would refuse ends the transaction of a caller's connection.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import isfinite
from typing import get_args

from taskq.exceptions import InvalidFilter, InvalidJob, InvalidSchedule, JobNotFound, TaskqException
from taskq.job import NewJob
from taskq.messages import short_repr
from taskq.queries.job_insert import OnConflict
from taskq.times import TimeDeltaParams, read_moment, read_wait

_IDS = -(2**63), 2**63 - 1
_LONGEST = 1_000_000_000  # seconds: thirty years


def check_count(name: str, count: object, most: int, refusal: type[TaskqException]) -> None:
    """Refuse what is no number from 1 to ``most``.

    Args:
        name: What the caller knows it by.
        count: What was asked for.
        most: The highest number that may be.
        refusal: What is raised otherwise.
    """
    if type(count) is not int or not 1 <= count <= most:
        raise refusal(f"{name}={short_repr(count)} is none: it goes from 1 to {most:,}")


def check_id(name: str, value: object, *, beyond: type[TaskqException] = JobNotFound) -> None:
    """Refuse what is no number, or one that no job can have.

    Args:
        name: What the caller knows it by.
        value: What was given.
        beyond: What is raised for a number that the database has no room for.

    Raises:
        InvalidFilter: It is no number.
    """
    if type(value) is not int:
        raise InvalidFilter(
            f"{name}={short_repr(value)} is no id of a job: give the number that defer answered"
        )
    if not _IDS[0] <= value <= _IDS[1]:
        raise beyond(f"no job can have that id: {name}={short_repr(value)}")


def check_switch(name: str, value: object) -> None:
    """Refuse what is neither True nor False.

    Raises:
        InvalidFilter: It is neither.
    """
    if type(value) is not bool:
        raise InvalidFilter(f"{name}={short_repr(value)}: it is True or False")


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no number of seconds that PostgreSQL can subtract from a time.

    Raises:
        InvalidFilter: It is none.
    """
    if type(value) not in {int, float} or not isfinite(value) or not 0 <= value <= _LONGEST:  # type: ignore[arg-type,operator]
        raise InvalidFilter(f"{name}={short_repr(value)}: give seconds, from 0 to {_LONGEST:,}")


def check_timeout(
    name: str, value: float | timedelta | None, refusal: type[TaskqException]
) -> float | None:
    """Refuse what is no length of time to wait for.

    Args:
        name: What the caller knows it by.
        value: Seconds or a ``timedelta``; None: for ever.
        refusal: What is raised for anything else.

    Returns:
        In seconds.
    """
    seconds: object = value.total_seconds() if isinstance(value, timedelta) else value
    if seconds is None:
        return None
    if type(seconds) not in {int, float} or not 0 < seconds <= _LONGEST:  # type: ignore[operator]
        raise refusal(
            f"{name}={short_repr(value)}: give seconds or a timedelta, more than 0 and at most "
            f"{_LONGEST:,} s, or None to wait for ever"
        )
    return float(seconds)  # type: ignore[arg-type]


def check_times(
    what: str, verb: str, at: datetime | None, wait: timedelta | TimeDeltaParams | None
) -> tuple[datetime | None, timedelta | None]:
    """Refuse a time and a wait for one and the same thing, or one that no job can have.

    Args:
        what: What they are for, for the message.
        verb: What the caller knows them by: ``retry`` for ``retry_at`` and ``retry_in``.
        at: The time.
        wait: The wait.

    Returns:
        Both, at most one of them given.

    Raises:
        InvalidSchedule: Both are given, or one that no job can have.
    """
    if at is not None and wait is not None:
        raise InvalidSchedule(
            f"{what} got {verb}_at={short_repr(at)} and {verb}_in={short_repr(wait)}: give one of them"
        )
    try:
        return None if at is None else read_moment(at), None if wait is None else read_wait(wait)
    except ValueError as error:
        given = f"{verb}_in={short_repr(wait)}" if at is None else f"{verb}_at={short_repr(at)}"
        raise InvalidSchedule(f"{what} got {given}, {error}") from None


def check_new_jobs(jobs: object, on_conflict: object) -> None:
    """Refuse what is no list of new jobs, or no answer to a conflict, or none for these jobs.

    Raises:
        InvalidJob: It is none.
    """
    if not isinstance(jobs, Sequence) or not all(isinstance(job, NewJob) for job in jobs):
        raise InvalidJob(
            f"jobs={short_repr(jobs)}: give a list of NewJob, or call a task's own defer"
        )
    if on_conflict not in get_args(OnConflict):
        raise InvalidJob(
            f"on_conflict={short_repr(on_conflict)}: it is 'raise', 'skip' or 'replace'"
        )
    if on_conflict == "replace":
        for job in jobs:
            if job.queueing_lock is None:
                raise InvalidJob(
                    f"task {short_repr(job.task_name)} cannot be deferred with on_conflict='replace' and no "
                    "queueing_lock, by which the job that waits is found: give one, as in "
                    "queueing_lock='statistics'"
                )
