"""Tracing: a span for each call that defers, one for each job of a batch, and one for each attempt."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from typing import Any, Final, NamedTuple

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import INVALID_SPAN, Link, Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue
from pydantic import JsonValue

from taskq.contrib.opentelemetry import attributes, carrying
from taskq.defer_middleware import EventDraft, JobDraft
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
        is_batch: Whether each job of it has a trace of its own.
        publishes: Whether it publishes an event, of which all jobs are of its own trace.
        created: In the order of the jobs, the span of each; None: it has none.
        attached: By which what was current before is so again.
        outer: The call in whose defer middleware this one is made.
    """

    span: Span
    is_batch: bool
    publishes: bool
    created: list[Span | None]
    attached: Token[contexts.Context]
    outer: "_Call | None"


class Tracing:
    """Makes spans of what telemetry tells.

    Args:
        telemetry: The app's.
        tracer: Makes the spans.
        tasks: The app's tasks by name and by alias.
        always_link: Whether each attempt begins a trace of its own, linked to where its job was deferred.
        create_spans: Whether each job of a batch has a span of its own where it is deferred.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        tracer: Tracer,
        tasks: Mapping[str, Task[..., Any]],
        *,
        always_link: bool,
        create_spans: bool,
    ) -> None:
        self._tracer = tracer
        self._tasks = tasks
        self._always_link = always_link
        self._create_spans = create_spans
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
        # The jobs of an event know it already, whichever program's they are.
        if call is None or call.publishes:
            return
        created: Span | None = None
        if not _is_said(call, job.metadata):
            if call.is_batch and self._create_spans:
                created = self._create(call, job)
            else:
                carrying.write(job.metadata, contexts.get_current(), linked=call.is_batch)
        call.created.append(created)

    def carry_event(self, event: EventDraft) -> None:
        """Publish middleware: have all jobs of the event know the trace that it is published in."""
        call = self._call.get()
        if call is not None and not _is_said(call, event.metadata):
            carrying.write(event.metadata, contexts.get_current())

    def _create(self, call: _Call, job: JobDraft) -> Span | None:
        """Begin the trace of a job of a batch, which is else as large as that."""
        current = contexts.get_current()
        span = self._tracer.start_span(
            f"{attributes.CREATE} {job.queue}",
            context=trace.set_span_in_context(INVALID_SPAN, current),
            kind=SpanKind.PRODUCER,
            links=[Link(call.span.get_span_context())],
            attributes={
                **_operation(attributes.CREATE),
                attributes.DESTINATION: job.queue,
                attributes.TASK: job.task_name,
            },
        )
        if not span.get_span_context().is_valid:
            # Without an SDK there are no spans, and what was current is passed on.
            carrying.write(job.metadata, current, linked=True)
            return None
        carrying.write(job.metadata, trace.set_span_in_context(span, current))
        return span if span.is_recording() else None

    def _deferring(self, event: JobsDeferring) -> None:
        is_batch = event.event is None and len(event.jobs) > 1
        said: dict[str, AttributeValue]
        if event.event is None:
            name = _named(attributes.SEND, event.jobs)
            said = {**_operation(attributes.SEND), **_in_common(event.jobs)}
        else:
            name = f"{attributes.PUBLISH} {event.event}"
            said = {**_operation(attributes.PUBLISH), attributes.DESTINATION: event.event}
        if is_batch:
            said[attributes.MESSAGE_COUNT] = len(event.jobs)
        # A worker may have been started within a span, which its ticks are no part of.
        context = contexts.get_current() if event.tick is None else contexts.Context()
        span = self._tracer.start_span(
            name,
            context=context,
            # What the context of jobs is of: here, or of the spans that create them.
            kind=SpanKind.CLIENT if is_batch and self._create_spans else SpanKind.PRODUCER,
            attributes=said,
        )
        attached = contexts.attach(trace.set_span_in_context(span, context))
        call = _Call(span, is_batch, event.event is not None, [], attached, self._call.get())
        self._call.set(call)

    def _deferred(self, event: JobsDeferred) -> None:
        if (call := self._end_call()) is None:
            return
        span = call.span
        if span.is_recording() and not call.publishes:
            # Defer middleware may have moved them.
            span.update_name(_named(attributes.SEND, event.jobs))
            span.set_attributes(_in_common(event.jobs))
            if len(event.ids) == 1 and event.ids[0] is not None:
                span.set_attribute(attributes.MESSAGE_ID, str(event.ids[0]))
        # Of those that were skipped nothing is to be seen: what never ends is not exported.
        for created, job_id in zip(call.created, event.ids, strict=False):
            if created is not None and job_id is not None:
                created.set_attribute(attributes.MESSAGE_ID, str(job_id))
                created.end()
                span.add_link(created.get_span_context())
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
            **_operation(attributes.PROCESS),
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


def _is_said(call: _Call, metadata: Mapping[str, JsonValue]) -> bool:
    """Whether the deferrer has given the metadata a trace itself; the call is linked to that."""
    said = carrying.said(metadata)
    if said is not None:
        call.span.add_link(said)
    return said is not None


def _operation(name: str) -> dict[str, AttributeValue]:
    return {
        attributes.SYSTEM: attributes.TASKQ,
        attributes.OPERATION_NAME: name,
        attributes.OPERATION_TYPE: attributes.SEND if name == attributes.PUBLISH else name,
    }


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
