"""Defer and publish middleware: what sees each job, or event, before it is sent, and may add to it."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeAlias

from pydantic import JsonValue

from taskq.arguments.codec import JSON_OBJECT, Unserializable
from taskq.exceptions import InvalidJob, MiddlewareKindMismatch
from taskq.job import NewJob, new_job
from taskq.messages import short_repr


class JobDraft:
    """A job that is about to be deferred, as far as middleware may see and change it.

    Attributes:
        queue: The queue it goes to.
        priority: Higher first.
        lock: Jobs with the same lock run one at a time, in order; None: no lock.
        metadata: What is noted about it: what JSON carries as it is, by name. Of this job alone.
        tags: By which it can be listed.
    """

    __slots__ = ("_job", "lock", "metadata", "priority", "queue", "tags")

    def __init__(self, job: NewJob) -> None:
        self._job = job
        self.queue: str = job.queue_name
        self.priority: int = job.priority
        self.lock: str | None = job.lock
        # The deferrer that it comes from may be used again.
        self.metadata: dict[str, JsonValue] = deepcopy(job.metadata or {})
        self.tags: list[str] = list(job.tags or ())

    def __repr__(self) -> str:
        return f"<JobDraft of {self.task_name!r}>"

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self._job.task_name

    @property
    def task_kwargs(self) -> Mapping[str, JsonValue]:
        """A copy of the arguments, as JSON carries them."""
        return deepcopy(self._job.args)

    def job(self) -> NewJob:
        """The job with what was changed.

        Raises:
            InvalidJob: No job can have that.
        """
        changed = {name: getattr(self._job, name) for name in NewJob.model_fields}
        changed |= {
            "queue_name": self.queue,
            "priority": self.priority,
            "lock": self.lock,
            "metadata": self._carried_metadata(),
            "tags": self.tags or None,
        }
        return new_job(**changed)

    def _carried_metadata(self) -> Mapping[str, JsonValue] | None:
        if not self.metadata:
            return None
        try:
            JSON_OBJECT.dump(self.metadata)
        except Unserializable as unfit:
            raise InvalidJob(
                f"task {self.task_name!r} cannot be deferred with metadata={unfit}; defer middleware has "
                "put it there"
            ) from None
        return self.metadata


class EventDraft:
    """An event that is about to be published, as far as middleware may see and change it.

    Attributes:
        metadata: What is noted about each job of it, whichever program's task it is of: what JSON carries as
            it is, by name. What a subscriber has declared holds.
    """

    __slots__ = ("_arguments", "_event", "metadata")

    def __init__(self, event: str, arguments: Mapping[str, JsonValue]) -> None:
        self._event = event
        self._arguments = arguments
        self.metadata: dict[str, JsonValue] = {}

    def __repr__(self) -> str:
        return f"<EventDraft of {self.event!r}>"

    @property
    def event(self) -> str:
        """The name of the event."""
        return self._event

    @property
    def arguments(self) -> Mapping[str, JsonValue]:
        """A copy of the arguments, as JSON carries them."""
        return deepcopy(self._arguments)


# Each changes the draft, and returns nothing; what it raises, the call of defer or of publish raises.
DeferMiddleware: TypeAlias = Callable[[JobDraft], None]
PublishMiddleware: TypeAlias = Callable[[EventDraft], None]


def check_defer_middleware(
    given: DeferMiddleware | Sequence[DeferMiddleware] | None,
) -> tuple[DeferMiddleware, ...]:
    """One middleware, several or none as a tuple.

    Raises:
        MiddlewareKindMismatch: One cannot be called, or is async.
    """
    return _checked("defer_middleware", given, takes="a JobDraft")


def check_publish_middleware(
    given: PublishMiddleware | Sequence[PublishMiddleware] | None,
) -> tuple[PublishMiddleware, ...]:
    """One middleware, several or none as a tuple.

    Raises:
        MiddlewareKindMismatch: One cannot be called, or is async.
    """
    return _checked("publish_middleware", given, takes="an EventDraft")


def _checked(name: str, given: Any, *, takes: str) -> tuple[Callable[[Any], None], ...]:
    if given is None:
        return ()
    checked = tuple(given) if isinstance(given, Iterable) else (given,)
    for middleware in checked:
        if not callable(middleware):
            raise MiddlewareKindMismatch(
                f"{name} got {short_repr(middleware)}, which cannot be called: give a function that takes "
                f"{takes}"
            )
        call = getattr(middleware, "__call__", None)  # noqa: B004 - the method, not whether there is one
        if any(map(inspect.iscoroutinefunction, (middleware, call))):
            raise MiddlewareKindMismatch(
                f"{name} got {middleware!r}, which is async: sync code defers and publishes, too, so "
                "declare it with def, and have it wait for nothing"
            )
    return checked


def apply_defer_middleware(
    middleware: Sequence[DeferMiddleware], jobs: Sequence[NewJob]
) -> Sequence[NewJob]:
    """The jobs as middleware leaves them, one after the other, each by all in their order.

    Raises:
        InvalidJob: One has made of a job what none can be.
        MiddlewareKindMismatch: One has returned something.
        Exception: Whatever one raises.
    """
    return [_applied(middleware, job) for job in jobs] if middleware else jobs


def _applied(middleware: Sequence[DeferMiddleware], job: NewJob) -> NewJob:
    draft = JobDraft(job)
    for each in middleware:
        _call(each, draft, kind="defer")
    return draft.job()


def noted_by(
    middleware: Sequence[PublishMiddleware], event: str, arguments: Mapping[str, JsonValue]
) -> Mapping[str, JsonValue]:
    """What middleware notes about all jobs of an event: their metadata.

    Raises:
        InvalidJob: It is what no job can have.
        MiddlewareKindMismatch: One has returned something.
        Exception: Whatever one raises.
    """
    if not middleware:
        return {}
    draft = EventDraft(event, arguments)
    for each in middleware:
        _call(each, draft, kind="publish")
    try:
        JSON_OBJECT.dump(draft.metadata)
    except Unserializable as unfit:
        raise InvalidJob(
            f"event {event!r} cannot be published with metadata={unfit}; publish middleware has put it there"
        ) from None
    return draft.metadata


def _call(middleware: Callable[[Any], object], draft: object, *, kind: str) -> None:
    returned = middleware(draft)
    if returned is None:
        return
    if inspect.iscoroutine(returned):
        returned.close()
    raise MiddlewareKindMismatch(
        f"the {kind} middleware {middleware!r} has returned {short_repr(returned)}: have it change the "
        f"{type(draft).__name__} that it gets, and return nothing"
    )
