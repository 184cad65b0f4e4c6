"""Defer middleware: what sees and may change each job before it is sent."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import TypeAlias

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


# Changes the draft, and returns nothing; what it raises, the call of defer raises.
DeferMiddleware: TypeAlias = Callable[[JobDraft], None]


def check_defer_middleware(
    given: DeferMiddleware | Sequence[DeferMiddleware] | None,
) -> tuple[DeferMiddleware, ...]:
    """One middleware, several or none as a tuple.

    Raises:
        MiddlewareKindMismatch: One cannot be called, or is async.
    """
    if given is None:
        return ()
    checked = tuple(given) if isinstance(given, Iterable) else (given,)
    for middleware in checked:
        if not callable(middleware):
            raise MiddlewareKindMismatch(
                f"defer_middleware got {short_repr(middleware)}, which cannot be called: give a function "
                "that takes a JobDraft"
            )
        call = getattr(middleware, "__call__", None)  # noqa: B004 - the method, not whether there is one
        if any(map(inspect.iscoroutinefunction, (middleware, call))):
            raise MiddlewareKindMismatch(
                f"defer_middleware got {middleware!r}, which is async: sync code defers jobs, too, so "
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
        returned: object = each(draft)
        if returned is not None:
            if inspect.iscoroutine(returned):
                returned.close()
            raise MiddlewareKindMismatch(
                f"the defer middleware {each!r} has returned {short_repr(returned)}: have it change the "
                "JobDraft that it gets, and return nothing"
            )
    return draft.job()
