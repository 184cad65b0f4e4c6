"""What can be said of a job beside its arguments: by its task, and by who defers it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from pydantic import JsonValue

from taskq.database.executor import AnyConnection
from taskq.exceptions import InvalidJob
from taskq.limits import Limit
from taskq.messages import closest, short_repr
from taskq.times import TimeDeltaParams


class JobDefaults(TypedDict, total=False):
    """What a task says of its jobs when it is declared, and ``configure`` of some of them.

    Attributes:
        queue: The queue; ``default`` if nothing is said.
        priority: Higher first; 0 if nothing is said.
        lock: Jobs with the same lock run one at a time, in order; None: no lock.
        queueing_lock: No two jobs with the same one wait at once; None: no queueing lock.
        limit: How many of the jobs that have it may run at once, or start in a time; None: any number.
        metadata: What is noted about the jobs, beside their arguments: what JSON carries as it is, by name;
            None: nothing.
        tags: By which the jobs can be listed, a hundred at most, each kept once; None: no tags.
        expire_in: In how long the jobs are to begin at the latest, from the call of ``defer`` and by the
            database's clock: a ``timedelta`` or its keywords. One that has not ends as cancelled. None:
            whenever.
    """

    queue: str
    priority: int
    lock: str | None
    queueing_lock: str | None
    limit: Limit | None
    metadata: Mapping[str, JsonValue] | None
    tags: Iterable[str] | None
    expire_in: timedelta | TimeDeltaParams | None


class JobOptions(JobDefaults, total=False):
    """What ``configure`` takes, beside what it has of ``JobDefaults``; what is left out stays as it is.

    Attributes:
        idempotency_key: While a job with the same one is kept, in whatever status, its id is answered, and
            none is deferred. It counts for all tasks: begin it with what it is for. None: no key.
        limit_key: The key by which there is a room of its own in the limit; None: the one that its ``by``
            says.
        task_kwargs: Arguments that every job gets, unless it is given others; None unsets earlier ones.
        schedule_at: When the job may start, with a time zone.
        schedule_in: In how long, from the call of ``defer`` and by the database's clock: a ``timedelta`` or
            its keywords.
        expire_at: By when the job is to begin, with a time zone, instead of ``expire_in``.
        connection: In whose transaction jobs are deferred: a SQLAlchemy ``Connection`` or ``Session``
            or a ``psycopg.Connection``, or for the async methods their async twins.
    """

    idempotency_key: str | None
    limit_key: str | None
    task_kwargs: Mapping[str, Any] | None
    schedule_at: datetime | None
    schedule_in: timedelta | TimeDeltaParams | None
    expire_at: datetime | None
    connection: AnyConnection | None


def refuse_unknown(given: Mapping[str, Any], known: type, refusal: str, *also: str) -> None:
    """Refuse an option that a TypedDict does not have.

    Args:
        given: Options by name.
        known: The TypedDict.
        refusal: What to say before the name.
        also: Other names that are taken.

    Raises:
        InvalidJob: One is unknown; the message says which are known.
    """
    names = [*known.__annotations__, *also]
    for name in given.keys() - set(names):
        close = closest(name, names)
        hint = f"did you mean {close!r}? " if close else ""
        raise InvalidJob(f"{refusal} {short_repr(name)}: {hint}it takes {', '.join(names)}")
