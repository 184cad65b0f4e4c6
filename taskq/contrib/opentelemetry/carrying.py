"""How the context of a trace gets from where a job is deferred to where it runs: in the job's metadata."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link

from taskq.defer_middleware import JobDraft
from taskq.job import Job

# Whoever defers a job may say in whose trace it is; by any name that a propagator reads.
TRACEPARENT: Final = "traceparent"

# Of a job that begins a trace of its own, with a link to that span: of a batch all jobs have the same.
_LINKED: Final = "tracelink"


def write(job: JobDraft, context: Context, *, linked: bool) -> None:
    """Write the context of a trace into the metadata of a job, unless its deferrer has.

    Args:
        job: The job.
        context: What it belongs to.
        linked: Whether it is one of several that do.
    """
    if TRACEPARENT in job.metadata:
        return
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    job.metadata.update(carrier)
    if linked and carrier:
        job.metadata[_LINKED] = True


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
    carrier = {name: value for name, value in metadata.items() if isinstance(value, str)}
    context = propagate.extract(carrier, Context())
    deferred = trace.get_current_span(context).get_span_context()
    if not deferred.is_valid or not (always_link or metadata.get(_LINKED) is True):
        return Origin(context, [])
    return Origin(trace.set_span_in_context(INVALID_SPAN, context), [Link(deferred)])
