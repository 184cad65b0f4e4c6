"""How the context of a trace gets from where a job is deferred to where it runs: in the job's metadata."""

from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext
from pydantic import JsonValue

from taskq.job import TRACELINK, TRACEPARENT, Job


def write(metadata: dict[str, JsonValue], context: Context, *, linked: bool = False) -> None:
    """Write the context of a trace into the metadata of a job.

    Args:
        metadata: Those of the job.
        context: What it belongs to.
        linked: Whether it is one of several that do: its attempts begin traces that are linked to it.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    metadata.update(carrier)
    if linked and carrier:
        metadata[TRACELINK] = True


def said(metadata: Mapping[str, JsonValue]) -> SpanContext | None:
    """The span that a deferrer has said itself that a job comes of, by W3C's name; None: it has said nothing.

    What it says may be none that there can be, and counts as well.
    """
    if TRACEPARENT not in metadata:
        return None
    return trace.get_current_span(_extracted(metadata)).get_span_context()


class Origin(NamedTuple):
    """Where the span of an attempt belongs.

    Attributes:
        context: With its parent, if it has one, and the baggage.
        links: To what it comes of without being its child.
    """

    context: Context
    links: list[Link]


def read(job: Job, *, always_link: bool) -> Origin:
    """Find out where the attempts of a job belong.

    Args:
        job: The job.
        always_link: Whether each attempt begins a trace of its own.
    """
    # What cannot be read of a row is none; nor is what somebody else means by the same name.
    metadata = job.metadata if isinstance(job.metadata, Mapping) else {}
    context = _extracted(metadata)
    deferred = trace.get_current_span(context).get_span_context()
    if not deferred.is_valid or not (always_link or metadata.get(TRACELINK) is True):
        return Origin(context, [])
    return Origin(trace.set_span_in_context(INVALID_SPAN, context), [Link(deferred)])


def _extracted(metadata: Mapping[str, JsonValue]) -> Context:
    carrier = {name: value for name, value in metadata.items() if isinstance(value, str)}
    return propagate.extract(carrier, Context())
