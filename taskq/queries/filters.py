"""Which jobs are meant: the filters that lists, counts and changes of many jobs take."""

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
)

from taskq.arguments.codec import JSON_OBJECT, Unserializable
from taskq.exceptions import InvalidFilter
from taskq.job import JobStatus, Name, listed
from taskq.messages import short_repr, validation_summary
from taskq.queries.rows import statuses_of
from taskq.times import read_moment
from taskq_sql import models

StatusName = Literal["todo", "doing", "succeeded", "failed", "cancelled", "aborted"]

EVERY_STATUS = frozenset(JobStatus)
ALIVE = frozenset({JobStatus.TODO, JobStatus.DOING})
UNSUCCESSFUL = frozenset({JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.ABORTED})


class JobFilters(TypedDict, total=False):
    """Which jobs are meant: those that fit all of the filters given; None is a filter not given.

    Attributes:
        ids: With one of these ids.
        queue: In this queue.
        task: Of the task with this name.
        status: With this status, or one of these.
        lock: With this lock.
        queueing_lock: With this queueing lock.
        limit_key: Whose own limit is this, ``tenant``, whatever its key, or one key of it, ``tenant:acme``.
        worker_id: Whose latest attempt was this worker's.
        deferred_after: Deferred then or later, with a time zone.
        deferred_before: Deferred earlier.
        finished_after: Finished then or later.
        finished_before: Finished earlier.
        task_kwargs: Whose arguments contain these, as ``jsonb @>`` understands it: ``{"user_id": 7}``
            fits whatever the other arguments are.
        tags: With all of these tags, and whatever others.
        error: Of which an attempt failed with this text in its error: the exception's class, or its message,
            in capitals or small letters.
    """

    ids: Iterable[int] | None
    queue: str | None
    task: str | None
    status: JobStatus | StatusName | Collection[JobStatus | StatusName] | None
    lock: str | None
    queueing_lock: str | None
    limit_key: str | None
    worker_id: int | None
    deferred_after: datetime | None
    deferred_before: datetime | None
    finished_after: datetime | None
    finished_before: datetime | None
    task_kwargs: Mapping[str, JsonValue] | None
    tags: Iterable[str] | None
    error: str | None


def _statuses(value: object) -> object:
    return [value] if isinstance(value, str) else listed(value)


def _carried(value: dict[str, Any]) -> dict[str, Any]:
    try:
        JSON_OBJECT.dump(value)
    except Unserializable as unfit:
        raise ValueError(str(unfit)) from None
    return value


Id = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Moment = Annotated[datetime, AfterValidator(read_moment)]


class Filter(BaseModel):
    """Filters that were checked."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, strict=True, extra="forbid")

    ids: Annotated[list[Id] | None, BeforeValidator(listed)] = None
    queue: Name | None = None
    task: Name | None = None
    # Not strict: a status is also given by its name.
    status: Annotated[
        list[Annotated[JobStatus, Field(strict=False)]] | None, BeforeValidator(_statuses)
    ] = None
    lock: Name | None = None
    queueing_lock: Name | None = None
    limit_key: Name | None = None
    worker_id: Id | None = None
    deferred_after: Moment | None = None
    deferred_before: Moment | None = None
    finished_after: Moment | None = None
    finished_before: Moment | None = None
    task_kwargs: Annotated[
        dict[str, Any] | None, BeforeValidator(lambda v: dict(v) if isinstance(v, Mapping) else v)
    ] = None
    # At least one, as no tag at all would be every job.
    tags: Annotated[list[Name], Field(min_length=1), BeforeValidator(listed)] | None = None
    error: Name | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Check the filters of a caller.

        Raises:
            InvalidFilter: One is unknown, or has a value that no job can have.
        """
        try:
            made = cls(**given)
            if made.task_kwargs is not None:
                _carried(made.task_kwargs)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            name = str(fault["loc"][0])
            if fault["type"] == "extra_forbidden":
                raise InvalidFilter(
                    f"jobs cannot be filtered by {name!r}: there are {', '.join(cls.model_fields)}"
                ) from None
            raise InvalidFilter(
                f"the filter {name}={short_repr(given[name])} makes no sense: "
                f"{validation_summary(error, skip=1)}"
            ) from None
        except ValueError as error:
            raise InvalidFilter(f"the filter task_kwargs makes no sense: {error}") from None
        return made

    @property
    def statuses(self) -> frozenset[JobStatus]:
        """The statuses that fit."""
        return EVERY_STATUS if self.status is None else frozenset(self.status)

    @property
    def is_empty(self) -> bool:
        """Whether every job fits."""
        return all(value is None for _, value in self)

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing but a status, or some ids."""
        return all(value is None for name, value in self if name not in {"ids", "status"})

    def only(self, statuses: Collection[JobStatus], *, operation: str) -> Self:
        """The same for an operation that takes jobs of some statuses alone.

        Raises:
            InvalidFilter: It is for jobs with another status.
        """
        if self.status is not None and (wrong := frozenset(self.status) - frozenset(statuses)):
            raise InvalidFilter(
                f"{operation} is for jobs that are {_either(statuses)}, and the filter status is "
                f"for those that are {_either(wrong)}: leave these out"
            )
        return self if self.status else self.model_copy(update={"status": list(statuses)})


def _either(statuses: Collection[JobStatus]) -> str:
    names = [status.value for status in JobStatus if status in statuses]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


class FilterArguments(TypedDict):
    statuses: list[models.TaskqJobStatus]
    queue_name: str | None
    task_name: str | None
    lock: str | None
    queueing_lock: str | None
    limit_key: str | None
    worker_id: int | None
    deferred_after: datetime | None
    deferred_before: datetime | None
    finished_after: datetime | None
    finished_before: datetime | None
    args: Any
    tags: list[str] | None
    error: str | None


def filter_arguments(wanted: Filter) -> FilterArguments:
    return {
        "statuses": statuses_of(wanted.statuses),
        "queue_name": wanted.queue,
        "task_name": wanted.task,
        "lock": wanted.lock,
        "queueing_lock": wanted.queueing_lock,
        "limit_key": wanted.limit_key,
        "worker_id": wanted.worker_id,
        "deferred_after": wanted.deferred_after,
        "deferred_before": wanted.deferred_before,
        "finished_after": wanted.finished_after,
        "finished_before": wanted.finished_before,
        "args": None if wanted.task_kwargs is None else json.dumps(wanted.task_kwargs),
        "tags": wanted.tags,
        "error": wanted.error,
    }
