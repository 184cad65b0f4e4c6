"""Apps that are traced, and what was seen of them."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from taskq import App
from taskq.contrib.opentelemetry import instrument, uninstrument

Spans = Callable[[str], list[ReadableSpan]]

# Of a span, which trace and which span in it.
Place = tuple[int, int]


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> Iterator[TracerProvider]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def meters(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


@pytest.fixture
def traced(app: App, provider: TracerProvider, meters: MeterProvider) -> Iterator[App]:
    instrument(app, tracer_provider=provider, meter_provider=meters)
    yield app
    uninstrument(app)


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    """The spans that ended so far and whose names begin like this, in the order in which they began."""

    def read(named: str) -> list[ReadableSpan]:
        found = [span for span in exporter.get_finished_spans() if span.name.startswith(named)]
        return sorted(found, key=lambda span: span.start_time or 0)

    return read


def of(span: ReadableSpan) -> Place:
    assert span.context
    return span.context.trace_id, span.context.span_id


def above(span: ReadableSpan) -> Place | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def linked(span: ReadableSpan) -> list[Place]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def noop() -> None: ...
