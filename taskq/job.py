"""A job: the launching of one task with given argument values."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)

from taskq.exceptions import InvalidJob, InvalidName, InvalidSchedule
from taskq.messages import short_repr, validation_summary
from taskq.progress import Progress
from taskq.times import LONGEST_WAIT, read_moment
from taskq.unreadable import Unreadable

T = TypeVar("T", datetime, float)

# What the columns of taskq_jobs hold, and why: see 0001_pre_tables.sql.
NAME_LENGTH = 500
MOST_TAGS = 100
_INT4 = 2**31
_LONGEST_WAIT = LONGEST_WAIT.total_seconds()

# What the metadata of a job say of the trace that it is deferred in: see taskq.contrib.opentelemetry.
TRACEPARENT = "traceparent"
TRACELINK = "tracelink"
_OF_A_TRACE = {TRACEPARENT, "tracestate", TRACELINK}

_MAY_BE_UNREADABLE = (
    "task_kwargs",
    "result",
    "metadata",
    "scheduled_at",
    "deferred_at",
    "started_at",
    "finished_at",
    "expires_at",
)


class JobStatus(StrEnum):
    """Where a job stands; todo and doing are alive, the other four are final."""

    TODO = "todo"
    DOING = "doing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the database had it when it was read.

    Attributes:
        id: Also the defer order.
        task_name: The task's name, or an alias of it.
        task_kwargs: The arguments, as JSON carries them.
        queue: Where it awaits execution.
        priority: Higher first.
        lock: Jobs with the same lock run one at a time, in order.
        queueing_lock: No two jobs with the same one are todo at once.
        idempotency_key: While the job is kept, no other one is deferred with the same.
        limit_key: The limit that it counts in, with its key after a colon if it has one, as in
            ``tenant:acme``.
        status: Where it stands.
        scheduled_at: It does not start before; None: at once.
        deferred_at: When the transaction that deferred it began.
        started_at: When its latest attempt was claimed.
        finished_at: When it reached a final status.
        attempt: The number of its latest attempt, from 1; 0 before the first.
        crashes: How many workers died while it may have been running.
        given_back: How often in a row, until now, workers gave it back that did not know it.
        worker_id: The worker of its latest attempt.
        abort_requested: Whether its worker is asked to abort it.
        result: What the task returned, as JSON carries it, if it stores its result.
        metadata: What its deferrer noted about it, as JSON carries it; None: nothing.
        tags: By which it can be listed.
        progress: How far its latest attempt has come, if its task reports it.
        expires_at: By when it is to begin, or it ends as cancelled; None: whenever, or it has begun and is to
            run again.
        claim: How often it was claimed: with ``worker_id`` the fencing token.
    """

    id: int
    task_name: str
    task_kwargs: Mapping[str, JsonValue]
    queue: str
    priority: int
    lock: str | None
    queueing_lock: str | None
    idempotency_key: str | None
    limit_key: str | None
    status: JobStatus
    scheduled_at: datetime | None
    deferred_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    crashes: int
    given_back: int
    worker_id: int | None
    abort_requested: bool
    result: JsonValue
    metadata: Mapping[str, JsonValue] | None
    tags: tuple[str, ...]
    progress: Progress | None = None
    expires_at: datetime | None = None
    claim: int

    @property
    def unreadable(self) -> dict[str, Unreadable]:
        """What of its row Python cannot read, by attribute; nearly always empty."""
        values = {name: getattr(self, name) for name in _MAY_BE_UNREADABLE}
        return {name: value for name, value in values.items() if isinstance(value, Unreadable)}

    @property
    def expired(self) -> bool:
        """Whether it was cancelled as it had not begun by ``expires_at``."""
        return (
            self.status is JobStatus.CANCELLED
            and self.expires_at is not None
            and self.finished_at is not None
            and self.expires_at <= self.finished_at
        )

    @property
    def attempts(self) -> int:
        """How many attempts lie behind it: of a job that is doing, those before the present one."""
        return self.attempt - 1 if self.status is JobStatus.DOING else self.attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """Why, when and where an attempt failed.

    Attributes:
        claim: Which claim of the job it was, from 1.
        attempt: The number of the attempt, as ``Job.attempt`` was.
        worker_id: The worker that ran it.
        failed_at: When the failure was written.
        error_type: The exception's class, with its module.
        error_message: The exception's message.
        error_traceback: The traceback, as Python prints it.
        started_at: When it was claimed; None: not known.
    """

    claim: int
    attempt: int
    worker_id: int
    failed_at: datetime
    error_type: str
    error_message: str
    error_traceback: str
    started_at: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long it took, from its claim to when its failure was written."""
        return (
            None if self.started_at is None else (self.failed_at - self.started_at).total_seconds()
        )


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character, which PostgreSQL cannot store")
    return text


Name = Annotated[
    str, StringConstraints(min_length=1, max_length=NAME_LENGTH), AfterValidator(_storable)
]

Priority = Annotated[int, Field(ge=-_INT4, lt=_INT4)]


def _alone(value: float, given: ValidationInfo) -> float:
    if given.data.get("scheduled_at") is not None:
        raise ValueError("has scheduled_at beside it: give one of them")
    return value


# In seconds, as a time that is made here would go by this machine's clock.
Wait = Annotated[
    float,
    Field(ge=-_LONGEST_WAIT, le=_LONGEST_WAIT, allow_inf_nan=False),
    AfterValidator(_alone),
]


def _after_start(value: T, given: ValidationInfo) -> T:
    # A time and a wait only the database can compare, by its clock.
    start = given.data.get("scheduled_at" if given.field_name == "expire_at" else "schedule_in")
    if start is not None and value <= start:
        raise ValueError(
            f"is not after the time at which it may start ({start}): it would never begin"
        )
    return value


def _to_come(seconds: float, given: ValidationInfo) -> float:
    if given.data.get("expire_at") is not None:
        raise ValueError("has expire_at beside it: give one of them")
    if seconds <= 0:
        raise ValueError(
            "leaves no time to begin: give more than 0 seconds, or expire_at for a time that may be over"
        )
    return seconds


# In seconds, too.
Expiry = Annotated[
    float,
    Field(le=_LONGEST_WAIT, allow_inf_nan=False),
    AfterValidator(_to_come),
    AfterValidator(_after_start),
]


def listed(value: object) -> object:
    """What is given as something to go through, such as a set, as a list."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        return list(value)
    return value


def _each_once(tags: list[str]) -> list[str] | None:
    return list(dict.fromkeys(tags)) or None


Tags = Annotated[
    list[Name],
    Field(max_length=MOST_TAGS),
    AfterValidator(_each_once),
    BeforeValidator(listed),
]


class NewJob(BaseModel):
    """A job that is about to be deferred, as ``taskq_defer_jobs`` takes it."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True, extra="forbid")

    task_name: Name
    args: dict[str, Any]
    queue_name: Name = "default"
    priority: Priority = 0
    lock: Name | None = None
    queueing_lock: Name | None = None
    idempotency_key: Name | None = None
    limit: Name | None = None
    limit_key: Annotated[str, AfterValidator(_storable)] | None = None
    scheduled_at: Annotated[datetime, AfterValidator(read_moment)] | None = None
    schedule_in: Wait | None = None
    metadata: dict[str, Any] | None = None
    tags: Tags | None = None
    # Whether its end is notified.
    awaited: bool | None = None
    expire_at: (
        Annotated[datetime, AfterValidator(read_moment), AfterValidator(_after_start)] | None
    ) = None
    expire_in: Expiry | None = None


# What a deferrer calls it.
OPTION_NAMES = {"task_name": "name", "queue_name": "queue", "scheduled_at": "schedule_at"}

_REFUSALS: dict[str, type[InvalidJob]] = {
    "task_name": InvalidName,
    "queue_name": InvalidName,
    "lock": InvalidName,
    "queueing_lock": InvalidName,
    "idempotency_key": InvalidName,
    "scheduled_at": InvalidSchedule,
    "schedule_in": InvalidSchedule,
    "expire_at": InvalidSchedule,
    "expire_in": InvalidSchedule,
}

_name: TypeAdapter[str] = TypeAdapter(Name)
# The database refuses what JSON has no number for; else it would be written as null. A task's own arguments
# never hold it, but a NewJob that is made by hand may.
_new_jobs = TypeAdapter(list[NewJob], config=ConfigDict(ser_json_inf_nan="constants"))
to_json: Callable[..., bytes] = _new_jobs.dump_json


def copied_metadata(metadata: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue] | None:
    """What another job like one has of its metadata: all but the trace, as it is deferred in another one.

    What was written by hand and is no object, or cannot be read, stays as it is.
    """
    if not isinstance(metadata, dict):
        return metadata
    return {name: value for name, value in metadata.items() if name not in _OF_A_TRACE} or None


def new_job(**values: Any) -> NewJob:
    """Make a job from the options of a deferrer.

    Raises:
        InvalidJob: With the option that no job can have, and its value.
    """
    try:
        return NewJob(**values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = str(fault["loc"][0])
        raise _REFUSALS.get(option, InvalidJob)(
            f"task {short_repr(values.get('task_name'))} cannot be deferred with "
            f"{OPTION_NAMES.get(option, option)}={short_repr(values.get(option))}: "
            f"{validation_summary(error, skip=1)}"
        ) from None


def check_name(name: object, *, what: str) -> None:
    """Refuse what cannot be a name in the database.

    Args:
        name: The name.
        what: What it is, for the message, as in "alias".

    Raises:
        InvalidName: It is no text, is empty or longer than 500 characters, or cannot be stored.
    """
    try:
        _name.validate_python(name, strict=True)
    except ValidationError as error:
        raise InvalidName(
            f"{what}={short_repr(name)}: {validation_summary(error, skip=0)}"
        ) from None
