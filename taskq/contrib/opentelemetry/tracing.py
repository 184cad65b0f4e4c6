"""Tracing: a span for each call that defers, and one for each attempt."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any, Final, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from taskq.contrib.opentelemetry import attributes, carrying
from taskq.defer_middleware import JobDraft
from taskq.job import NewJob
from taskq.outcome import Ending
from taskq.task import Task
from taskq.telemetry import (
    JobEnded,
    JobFailedAfterCommit,
    JobsDeferred,
    JobsDeferring,
    JobsNotDeferred,
    JobStarted,
    Telemetry,
)

# Those that are errors: that a job goes back, waits or is aborted as was asked is none.
_ERRORS: Final = {Ending.FAILED, Ending.RETRIED}


class _Call(NamedTuple):
    """A call that defers, while it is under way.

    Attributes:
        span: Its span.
        jobs: How many jobs.
        attached: By which what was current before is so again.
        outer: The call in whose defer middleware this one is made.
    """

    span: Span
    jobs: int
    attached: Token[contexts.Context]
    outer: "_Call | None"


class Tracing:
    """Makes spans of what telemetry tells.

    Args:
        telemetry: The app's.
        tracer: Makes the spans.
        tasks: The app's tasks by name and by alias.
        always_link: Whether each attempt begins a trace of its own, linked to where its job was deferred.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: Tracer,
        tasks: Mapping[str, Task[..., Any]],
        *,
        always_link: bool,
    ) -> None:
        self._tracer = tracer
        self._tasks = tasks
        self._always_link = always_link
        # Of this app: another one's may defer within it.
        self._call: ContextVar[_Call | None] = ContextVar("taskq_call", default=None)
        # By job and claim. An attempt that its worker leaves behind may end in another context.
        self._attempts: dict[tuple[int, int], Span] = {}
        self._unsubscribe: list[Callable[[], None]] = [
            telemetry.subscribe(JobsDeferring, self._deferring),
            telemetry.subscribe(JobsDeferred, self._deferred),
            telemetry.subscribe(JobsNotDeferred, self._not_deferred),
            telemetry.subscribe(JobStarted, self._started),
            telemetry.subscribe(JobFailedAfterCommit, self._failed_after_commit),
            telemetry.subscribe(JobEnded, self._ended),
        ]

    def close(self) -> None:
        """Make no more spans, and end those of attempts under way."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        while self._attempts:
            self._attempts.popitem()[1].end()

    # Where jobs are deferred: all in the context of the call

    def carry(self, job: JobDraft) -> None:
        """Defer middleware: have the job know the trace that it is deferred in."""
        call = self._call.get()
        if call is not None:
            carrying.write(job, contexts.get_current(), linked=call.jobs > 1)

    def _deferring(self, event: JobsDeferring) -> None:
        jobs = event.jobs
        said: dict[str, AttributeValue] = {
            attributes.SYSTEM: attributes.TASKQ,
            attributes.OPERATION_NAME: attributes.SEND,
            attributes.OPERATION_TYPE: attributes.SEND,
            **_in_common(jobs),
        }
        if len(jobs) > 1:
            said[attributes.MESSAGE_COUNT] = len(jobs)
        span = self._tracer.start_span(
            _named(attributes.SEND, jobs), kind=SpanKind.PRODUCER, attributes=said
        )
        attached = contexts.attach(trace.set_span_in_context(span))
        self._call.set(_Call(span, len(jobs), attached, self._call.get()))

    def _deferred(self, event: JobsDeferred) -> None:
        if (call := self._end_call()) is None:
            return
        span = call.span
        if span.is_recording():
            # Defer middleware may have moved them.
            span.update_name(_named(attributes.SEND, event.jobs))
            span.set_attributes(_in_common(event.jobs))
            if len(event.ids) == 1 and event.ids[0] is not None:
                span.set_attribute(attributes.MESSAGE_ID, str(event.ids[0]))
        span.end()

    def _not_deferred(self, event: JobsNotDeferred) -> None:
        call = self._end_call()
        # Of a tick that another worker has deferred nothing is to be seen: what never ends is not exported.
        if call is not None and event.error is not None:
            _fail(call.span, event.error)
            call.span.end()

    def _end_call(self) -> _Call | None:
        call = self._call.get()
        if call is not None:
            self._call.set(call.outer)
            contexts.detach(call.attached)
        return call

    # Where jobs run: all in the context of the job

    def _started(self, event: JobStarted) -> None:
        job = event.job
        said: dict[str, AttributeValue] = {
            attributes.SYSTEM: attributes.TASKQ,
            attributes.OPERATION_NAME: attributes.PROCESS,
            attributes.OPERATION_TYPE: attributes.PROCESS,
            attributes.DESTINATION: job.queue,
            attributes.MESSAGE_ID: str(job.id),
            attributes.TASK: job.task_name,
            attributes.ATTEMPT: job.attempt,
            attributes.WAIT_TIME: event.waited,
            attributes.WORKER: event.worker_name,
        }
        if (task := self._tasks.get(job.task_name)) is not None:
            said[attributes.FUNCTION] = _qualified_name(task.func)
        origin = carrying.read(job, always_link=self._always_link)
        span = self._tracer.start_span(
            f"{attributes.PROCESS} {job.queue}",
            context=origin.context,
            kind=SpanKind.CONSUMER,
            links=origin.links,
            attributes=said,
        )
        self._attempts[job.id, job.claim] = span
        # It is never detached: the context ends with the job.
        contexts.attach(trace.set_span_in_context(span, origin.context))

    def _failed_after_commit(self, event: JobFailedAfterCommit) -> None:
        if (span := self._attempts.get((event.job.id, event.job.claim))) is not None:
            span.record_exception(event.error)

    def _ended(self, event: JobEnded) -> None:
        span = self._attempts.pop((event.job.id, event.job.claim), None)
        if span is None:
            return
        span.set_attribute(attributes.ENDING, event.ending.value)
        if event.ending in _ERRORS and event.error is not None:
            _fail(span, event.error)
        span.end()


def _fail(span: Span, error: BaseException) -> None:
    if span.is_recording():
        span.set_attribute(attributes.ERROR_TYPE, _qualified_name(type(error)))
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, str(error)))


def _in_common(jobs: Sequence[NewJob]) -> dict[str, AttributeValue]:
    """The queue and the task, if all jobs have the same."""
    queues = {job.queue_name for job in jobs}
    tasks = {job.task_name for job in jobs}
    common: dict[str, AttributeValue] = {}
    if len(queues) == 1:
        common[attributes.DESTINATION] = queues.pop()
    if len(tasks) == 1:
        common[attributes.TASK] = tasks.pop()
    return common


def _named(operation: str, jobs: Sequence[NewJob]) -> str:
    queues = {job.queue_name for job in jobs}
    return f"{operation} {queues.pop()}" if len(queues) == 1 else operation


def _qualified_name(of: Any) -> str:
    name = getattr(of, "__qualname__", None) or type(of).__qualname__
    module = getattr(of, "__module__", None)
    return name if module in {None, "builtins"} else f"{module}.{name}"
