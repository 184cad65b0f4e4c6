"""Deferring: from a call's arguments to a job in the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    get_args,
    overload,
)

from pydantic import JsonValue

from taskq.arguments.arguments import Arguments
from taskq.arguments.codec import JSON_OBJECT, Unserializable
from taskq.database.executor import AnyConnection
from taskq.exceptions import InvalidArguments, InvalidJob, InvalidLimit
from taskq.job import NewJob, new_job
from taskq.job_options import JobOptions as JobOptions  # noqa: PLC0414 - documented here
from taskq.job_options import refuse_unknown
from taskq.limits import Limit, check_limit, joined_key
from taskq.manager import JobManager
from taskq.manager.bounds import check_times
from taskq.messages import short_repr
from taskq.queries.job_insert import OnConflict

P = ParamSpec("P")
Id = TypeVar("Id", bound=int | None)
T = TypeVar("T")


class ByName:
    """The type of the one thing that is given by position: nothing.

    A ``ParamSpec`` takes by position whatever a function takes so. Behind a place for nothing, type checkers
    refuse that.
    """


BY_NAME: Final = ByName()


@dataclass(frozen=True, slots=True)
class TaskArgs(Generic[P]):
    """The arguments of one job of a batch, which a type checker has seen: ``task.args(…)``."""

    kwargs: Mapping[str, Any]
    of: Arguments[P] = field(repr=False)


class GetManager(Protocol):
    """Where jobs are deferred: found when one is, as a blueprint's task has none at first."""

    def __call__(self) -> JobManager: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferrer(Generic[P, Id]):
    """Defers jobs of one task with certain options; ``Task.configure`` makes it.

    It may be kept and used any number of times. ``Id`` is what becomes of a job: its id, or its id or
    None where jobs may be skipped.
    """

    arguments: Arguments[P]
    get_manager: GetManager
    queue: str = "default"
    priority: int = 0
    lock: str | None = None
    queueing_lock: str | None = None
    idempotency_key: str | None = None
    limit: Limit | None = None
    limit_key: str | None = None
    metadata: Mapping[str, JsonValue] | None = None
    tags: Sequence[str] | None = None
    # Not shown: it may be what a task encrypts.
    task_kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    schedule_at: datetime | None = None
    schedule_in: timedelta | None = None
    expire_at: datetime | None = None
    expire_in: timedelta | None = None
    connection: AnyConnection | None = None
    on_conflict: OnConflict = "raise"
    encrypted: bool = False

    @property
    def task_name(self) -> str:
        """The task's name as it is now: an app that takes in a blueprint gives it another."""
        return self.arguments.task_name

    @overload
    def configure(
        self, *, on_conflict: Literal["skip"], **options: Unpack[JobOptions]
    ) -> "Deferrer[P, int | None]": ...
    @overload
    def configure(
        self, *, on_conflict: Literal["raise", "replace"], **options: Unpack[JobOptions]
    ) -> "Deferrer[P, int]": ...
    @overload
    def configure(self, **options: Unpack[JobOptions]) -> "Deferrer[P, Id]": ...
    def configure(
        self, *, on_conflict: OnConflict | None = None, **options: Unpack[JobOptions]
    ) -> Any:
        """Make a deferrer whose jobs differ from this one's.

        Args:
            on_conflict: What to do with a job whose queueing lock a job that waits already has:
                "raise" ``AlreadyEnqueued``, "skip" it and answer None in its place, or "replace" the one
                that waits and answer its id.
            **options: See ``JobOptions``.

        Raises:
            InvalidJob: An option no job can have; the message says which.
            InvalidLimit: The limit is by an argument that the task does not take, or its key is none.
        """
        refuse_unknown(
            options, JobOptions, f"task {self.task_name!r} cannot be configured with", "on_conflict"
        )
        changed: dict[str, Any] = {**options}
        for verb in ("schedule", "expire"):
            if f"{verb}_at" in options or f"{verb}_in" in options:
                # Either takes the place of the other.
                changed[f"{verb}_at"], changed[f"{verb}_in"] = check_times(
                    f"task {self.task_name!r}",
                    verb,
                    changed.get(f"{verb}_at"),
                    changed.get(f"{verb}_in"),
                )
        if "task_kwargs" in options:
            changed["task_kwargs"] = self._merged(options["task_kwargs"])
        if "limit" in options:
            changed["limit"] = self._checked_limit(options["limit"])
            # A key is one of a limit.
            changed.setdefault("limit_key", None)
        if "metadata" in options:
            changed["metadata"] = self._carried(options["metadata"])
        if on_conflict is not None:
            if on_conflict not in get_args(OnConflict):
                raise InvalidJob(
                    f"task {self.task_name!r} got on_conflict={short_repr(on_conflict)}: it is 'raise', "
                    "'skip' or 'replace'"
                )
            changed["on_conflict"] = on_conflict
        configured = replace(self, **changed)
        job = configured._new_job({})  # refuses now what no job can have
        return replace(configured, tags=job.tags) if "tags" in options else configured

    def defer(self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs) -> Id:
        """Defer a job.

        Args:
            nothing: Nothing, as ``*args``: arguments are given by name.
            *args: None.
            **kwargs: The task's arguments.

        Returns:
            The job's id, or that of the job that has its idempotency key; None if it was skipped.

        Raises:
            InvalidArguments: They do not fit the task, or JSON cannot carry them.
            InvalidJob: It is to replace the one that waits, and has no queueing lock.
            AlreadyEnqueued: A job with the same queueing lock waits already.
        """
        return self._defer([self._prepared(positional(nothing, args), kwargs)])[0]

    async def defer_async(
        self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs
    ) -> Id:
        """The async twin of ``defer``."""
        return (await self._defer_async([self._prepared(positional(nothing, args), kwargs)]))[0]

    def batch_defer(self, *calls: Mapping[str, Any] | TaskArgs[P]) -> list[Id]:
        """Defer one job per call, all or none, in one statement.

        Args:
            *calls: The arguments of each: ``task.args(…)``, which a type checker sees, or a mapping.

        Returns:
            The jobs' ids, in the same order, with None for a job that was skipped.

        Raises:
            InvalidArguments: Those of a call do not fit the task; the message has its index.
            AlreadyEnqueued: A job with the same queueing lock waits already, or is in the batch.
        """
        prepared = self._batch(calls)
        return self._defer(prepared) if prepared else []

    async def batch_defer_async(self, *calls: Mapping[str, Any] | TaskArgs[P]) -> list[Id]:
        """The async twin of ``batch_defer``."""
        prepared = self._batch(calls)
        return await self._defer_async(prepared) if prepared else []

    def _defer(self, jobs: Sequence[NewJob]) -> list[Id]:
        ids = self._manager().defer_jobs(jobs, on_conflict=self.on_conflict)
        return cast("list[Id]", ids)

    async def _defer_async(self, jobs: Sequence[NewJob]) -> list[Id]:
        ids = await self._manager().defer_jobs_async(jobs, on_conflict=self.on_conflict)
        return cast("list[Id]", ids)

    def _manager(self) -> JobManager:
        manager = self.get_manager()
        if self.limit is not None:
            # For the next worker of this app to declare.
            manager.limits.add(self.limit)
        return manager if self.connection is None else manager.on(self.connection)

    def _batch(self, calls: Sequence[Mapping[str, Any] | TaskArgs[P]]) -> list[NewJob]:
        prepared = []
        for index, call in enumerate(calls):
            try:
                prepared.append(self._prepared((), self._kwargs_of(call)))
            except InvalidArguments as error:
                raise InvalidArguments(f"call {index} of the batch: {error}") from error
        return prepared

    def _kwargs_of(self, call: Mapping[str, Any] | TaskArgs[P]) -> Mapping[str, Any]:
        if isinstance(call, TaskArgs):
            if call.of is not self.arguments:
                raise InvalidArguments(
                    f"arguments of task {call.of.task_name!r} in a batch of {self.task_name!r}"
                )
            return call.kwargs
        if isinstance(call, Mapping):
            return call
        raise InvalidArguments(
            f"{self._shown(call)} is neither task.args(…) nor a mapping of arguments by name"
        )

    def prepare(self, nothing: ByName = BY_NAME, /, *args: P.args, **kwargs: P.kwargs) -> NewJob:
        """Check the arguments and options of a job, and defer nothing yet.

        Raises:
            InvalidArguments: The arguments do not fit the task, or JSON cannot carry them.
        """
        return self._prepared(positional(nothing, args), kwargs)

    def prepare_without_arguments(self) -> NewJob:
        """A job with these options, and without arguments."""
        return self._new_job({})

    def check(self, **kwargs: object) -> None:
        """Check the arguments and options of a job as ``prepare`` does, without a key to encrypt them by."""
        self._plain((), kwargs)

    def _prepared(self, args: tuple[object, ...], kwargs: Mapping[str, Any]) -> NewJob:
        job = self._plain(args, kwargs)
        if not self.encrypted:
            return job
        # Last, when all that looks at the arguments has seen them.
        keyring = self.get_manager().keyring
        return job.model_copy(update={"args": keyring.encrypt_arguments(job.task_name, job.args)})

    def _plain(self, args: tuple[object, ...], kwargs: Mapping[str, Any]) -> NewJob:
        given = {**self.task_kwargs, **kwargs}
        for name in given:
            if not isinstance(name, str):
                raise InvalidArguments(
                    f"task {self.task_name!r}: {self._shown(name)} is not the name of an argument"
                )
        # Positional ones too, which it refuses.
        dump = cast("Callable[..., dict[str, JsonValue]]", self.arguments.dump)
        stored = dump(*args, **given)
        limit_key = self.limit_key
        if self.limit is not None and limit_key is None and self.limit.by is not None:
            limit_key = self.limit.key_of(
                [self.arguments.value_of(name, stored) for name in self.limit.arguments]
            )
        return self._new_job(stored, limit_key)

    def _new_job(self, args: Mapping[str, JsonValue], limit_key: str | None = None) -> NewJob:
        if limit_key is None:
            limit_key = self.limit_key
        if limit_key is not None:
            self._check_limit_key(limit_key)
        return new_job(
            task_name=self.task_name,
            args=args,
            queue_name=self.queue,
            priority=self.priority,
            lock=self.lock,
            queueing_lock=self.queueing_lock,
            idempotency_key=self.idempotency_key,
            limit=None if self.limit is None else self.limit.name,
            limit_key=limit_key,
            scheduled_at=self.schedule_at,
            schedule_in=None if self.schedule_in is None else self.schedule_in.total_seconds(),
            metadata=self.metadata,
            tags=self.tags,
            expire_at=self.expire_at,
            expire_in=None if self.expire_in is None else self.expire_in.total_seconds(),
        )

    def _checked_limit(self, limit: object) -> Limit | None:
        if limit is None:
            return None
        checked = check_limit(limit, of=f"task {self.task_name!r}")
        for name in checked.arguments:
            if not self.arguments.takes(name):
                raise InvalidLimit(
                    f"task {self.task_name!r} got limit {checked.name!r}, which is by {name!r}: it takes no "
                    "argument of that name"
                )
        if checked.by is not None and self.encrypted:
            raise InvalidLimit(
                f"task {self.task_name!r} got limit {checked.name!r}, which is by {checked.by!r}: the task "
                "is encrypted, and the limit's key would show the value. Give a limit without by, and a key "
                "that may be read, as in configure(limit_key=…)"
            )
        return checked

    def _shown(self, value: object) -> str:
        # What a caller gave in place of arguments may be one.
        return f"a {type(value).__name__}" if self.encrypted else short_repr(value)

    def _check_limit_key(self, limit_key: object) -> None:
        if self.limit is None:
            raise InvalidLimit(
                f"task {self.task_name!r} got limit_key={short_repr(limit_key)} and has no limit: give one "
                "with it, as in configure(limit=…, limit_key=…)"
            )
        joined_key(self.limit.name, limit_key)

    def _merged(self, task_kwargs: Mapping[str, Any] | None) -> Mapping[str, Any]:
        if task_kwargs is None:
            return {}
        if not isinstance(task_kwargs, Mapping):
            raise InvalidJob(
                f"task {self.task_name!r} got task_kwargs={self._shown(task_kwargs)}: give a mapping of "
                "arguments by name"
            )
        return {**self.task_kwargs, **task_kwargs}

    def _carried(self, metadata: Mapping[str, JsonValue] | None) -> Mapping[str, JsonValue] | None:
        if metadata is None:
            return None
        refusal = f"task {self.task_name!r} cannot be deferred with metadata="
        if not isinstance(metadata, Mapping):
            raise InvalidJob(f"{refusal}{short_repr(metadata)}: give a mapping of values by name")
        try:
            return cast("Mapping[str, JsonValue]", JSON_OBJECT.dump(dict(metadata)))
        except Unserializable as unfit:
            raise InvalidJob(f"{refusal}{unfit}") from None


def positional(nothing: object, args: tuple[object, ...]) -> tuple[object, ...]:
    """What a call gave by position, its first place included."""
    return args if nothing is BY_NAME else (nothing, *args)


def arguments_of_unknown(task_name: str) -> Arguments[...]:
    """The arguments of a task of another program, which has no signature here: what JSON carries."""

    def anything(**kwargs: Any) -> None: ...

    return Arguments(anything, task_name=task_name)
