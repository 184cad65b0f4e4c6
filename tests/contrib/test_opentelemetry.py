"""Traces and metrics for OpenTelemetry, as its SDK takes them."""

import asyncio
import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from taskq import AlreadyEnqueued, App, JobDraft, JobStatus, queries
from taskq.contrib.metrics import database
from taskq.contrib.metrics.figures import COUNTED, READ
from taskq.contrib.opentelemetry import instrument, uninstrument
from taskq.exceptions import InvalidOption
from tests.conftest import Face
from tests.contrib.conftest import Start, until

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"

Spans = Callable[[str], list[ReadableSpan]]


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


def of(span: ReadableSpan) -> tuple[int, int]:
    assert span.context
    return span.context.trace_id, span.context.span_id


def above(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# One job


async def test_a_job_is_a_span_where_it_is_deferred_and_one_below_it_where_it_runs(
    traced: App, provider: TracerProvider, spans: Spans, face: Face
) -> None:
    charge = traced.task(name="charge", queue="mail")(charged)
    with provider.get_tracer("web").start_as_current_span("POST /orders"):
        job_id = await face.defer(charge)
    await traced.run_worker_async(wait=False, name="ada", install_signal_handlers=False)
    [request], [send], [process] = spans("POST"), spans("send"), spans("process")
    assert (send.name, send.kind, above(send)) == ("send mail", SpanKind.PRODUCER, of(request))
    assert said(send) == {
        "messaging.system": "taskq",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(job_id),
        "messaging.taskq.task.name": "charge",
    }
    assert (process.name, process.kind) == ("process mail", SpanKind.CONSUMER)
    assert above(process) == of(send)
    assert list(process.links) == []
    attributes = said(process)
    assert 0 < attributes.pop("messaging.taskq.job.wait_time") < 30
    assert attributes == {
        "messaging.system": "taskq",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(job_id),
        "messaging.taskq.task.name": "charge",
        "messaging.taskq.job.attempt": 1,
        "messaging.taskq.job.ending": "succeeded",
        "messaging.taskq.worker.name": "ada",
        "code.function.name": "tests.contrib.test_opentelemetry.charged",
    }
    assert process.status.status_code is StatusCode.UNSET


async def charged() -> None: ...


def noop() -> None: ...


def tick(timestamp: int) -> None: ...


def test_attempts_of_a_job_are_spans_of_one_trace_and_those_that_fail_say_why(
    traced: App, spans: Spans
) -> None:
    errors = iter([ConnectionError("not yet"), KeyError("no")])

    @traced.task(name="fail", retry=1)
    def fail() -> None:
        raise next(errors)

    fail.defer()
    traced.run_worker(wait=False)
    [send], processes = spans("send"), spans("process")
    assert [above(span) for span in processes] == [of(send)] * 2
    assert [said(span)["messaging.taskq.job.attempt"] for span in processes] == [1, 2]
    assert [said(span)["messaging.taskq.job.ending"] for span in processes] == ["retried", "failed"]
    assert [said(span)["error.type"] for span in processes] == ["ConnectionError", "KeyError"]
    assert {span.status.status_code for span in processes} == {StatusCode.ERROR}
    assert [event.name for span in processes for event in span.events] == ["exception"] * 2


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_task_is_within_its_span_whatever_runs_beside_it(
    traced: App, provider: TracerProvider, spans: Spans, is_async: bool
) -> None:
    tracer = provider.get_tracer("shop")
    child = traced.task(name="child", queue="children")(lambda: None)

    async def parent(number: int) -> None:
        with tracer.start_as_current_span(f"work {number}"):
            await asyncio.sleep(0.05)
            await child.defer_async()

    def sync_parent(number: int) -> None:
        with tracer.start_as_current_span(f"work {number}"):
            child.defer()

    task = traced.task(name="parent")(parent if is_async else sync_parent)
    for number in range(5):
        await task.defer_async(number=number)
    await traced.run_worker_async(wait=False, concurrency=5, install_signal_handlers=False)
    parents = {of(span): said(span)["messaging.message.id"] for span in spans("process default")}
    works = spans("work")
    assert len(parents) == len(works) == 5
    assert {above(work) for work in works} == parents.keys()
    assert {above(send) for send in spans("send children")} == {of(work) for work in works}
    assert len({of(span)[0] for span in spans("process children")}) == 5


def test_whoever_defers_may_say_in_which_trace_also_by_sql(
    traced: App, spans: Spans, connection: psycopg.Connection
) -> None:
    task = traced.task(name="noop")(lambda: None)
    task.configure(metadata={"traceparent": TRACEPARENT, "note": "mine"}).defer()
    job = {"task_name": "noop", "metadata": {"traceparent": TRACEPARENT}}
    connection.execute("SELECT taskq_defer_jobs(%s::jsonb)", [json.dumps([job])])
    traced.run_worker(wait=False)
    assert [above(span) for span in spans("process")] == [(int(TRACE, 16), int(PARENT, 16))] * 2
    assert traced.job_manager.get_job(1).metadata == {"traceparent": TRACEPARENT, "note": "mine"}


@pytest.mark.parametrize(
    "metadata",
    [
        {"traceparent": "nonsense"},
        {"traceparent": f"00-{'0' * 32}-{PARENT}-01"},
        {"traceparent": 7, "tracelink": True},
        {"traceparent": [TRACEPARENT]},
        {"tracelink": True, "baggage": "=;,%zz"},
    ],
)
def test_what_is_no_trace_is_none(
    traced: App, spans: Spans, connection: psycopg.Connection, metadata: dict[str, Any]
) -> None:
    traced.task(name="noop")(lambda: None)
    job = {"task_name": "noop", "metadata": metadata}
    connection.execute("SELECT taskq_defer_jobs(%s::jsonb)", [json.dumps([job])])
    traced.run_worker(wait=False)
    [process] = spans("process")
    assert (process.parent, list(process.links)) == (None, [])
    assert traced.job_manager.get_job(1).status is JobStatus.SUCCEEDED


def test_baggage_comes_along_and_what_is_not_sampled_stays_so(app: App, spans: Spans) -> None:
    seen: list[tuple[object, bool]] = []

    @app.task(name="look")
    def look() -> None:
        current = trace.get_current_span().get_span_context()
        seen.append((baggage.get_baggage("tenant"), current.trace_flags.sampled))

    instrument(app, tracer_provider=TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    token = context.attach(baggage.set_baggage("tenant", "acme"))
    look.defer()
    context.detach(token)
    app.run_worker(wait=False)
    assert seen == [("acme", False)]
    metadata = app.job_manager.get_job(1).metadata
    assert metadata
    assert metadata["baggage"] == "tenant=acme"
    assert int(str(metadata["traceparent"]).rpartition("-")[2], 16) & 1 == 0


# Several at once


async def test_jobs_of_a_batch_have_traces_of_their_own_linked_to_where_they_were_deferred(
    traced: App, spans: Spans, face: Face
) -> None:
    await face.batch(traced.task(name="noop")(noop), *[{}] * 3)
    await traced.run_worker_async(wait=False, install_signal_handlers=False)
    [send], processes = spans("send"), spans("process")
    assert said(send)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in said(send)
    assert [span.parent for span in processes] == [None] * 3
    assert len({of(span)[0] for span in [send, *processes]}) == 4
    links = [[(link.context.trace_id, link.context.span_id) for link in p.links] for p in processes]
    assert links == [[of(send)]] * 3


async def test_so_have_those_of_several_subscribers_of_an_event(
    traced: App, spans: Spans, face: Face
) -> None:
    for name in ("one", "two"):
        traced.on("paid")(traced.task(name=name, queue=name)(noop))
    ids = await traced.publish_async("paid") if face.is_async else traced.publish("paid")
    assert len(ids) == 2
    await traced.run_worker_async(wait=False, install_signal_handlers=False)
    [send], processes = spans("send"), spans("process")
    assert send.name == "send", "they are of two queues"
    assert [[link.context.span_id for link in p.links] for p in processes] == [[of(send)[1]]] * 2
    assert not trace.get_current_span().get_span_context().is_valid


def test_each_attempt_may_begin_a_trace_of_its_own(
    app: App, provider: TracerProvider, spans: Spans
) -> None:
    instrument(app, tracer_provider=provider, always_link=True)
    app.task(name="noop")(lambda: None).defer()
    app.run_worker(wait=False)
    [send], [process] = spans("send"), spans("process")
    assert process.parent is None
    assert [link.context.span_id for link in process.links] == [of(send)[1]]


async def test_calls_at_the_same_time_keep_their_own_traces(
    traced: App, provider: TracerProvider, spans: Spans
) -> None:
    task = traced.task(name="noop")(lambda: None)

    async def request(number: int) -> None:
        with provider.get_tracer("web").start_as_current_span(f"request {number}"):
            await task.defer_async()

    await asyncio.gather(*map(request, range(20)))
    assert {above(send) for send in spans("send")} == {of(request) for request in spans("request")}
    jobs = traced.job_manager.list_jobs().jobs
    carried = {str((job.metadata or {})["traceparent"]).split("-")[2] for job in jobs}
    assert carried == {f"{of(send)[1]:016x}" for send in spans("send")}


# What goes wrong


async def test_a_call_that_fails_is_an_error_and_leaves_nothing_current(
    traced: App, spans: Spans, face: Face
) -> None:
    once = traced.task(name="noop")(lambda: None).configure(queueing_lock="once")
    await face.defer(once)
    with pytest.raises(AlreadyEnqueued):
        await face.defer(once)
    _, failed = spans("send")
    assert failed.status.status_code is StatusCode.ERROR
    assert said(failed)["error.type"] == "taskq.exceptions.AlreadyEnqueued"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_defer_middleware_may_defer_a_job_itself_and_move_what_it_sees(
    database_url: str, provider: TracerProvider, spans: Spans, face: Face
) -> None:
    def audited(job: JobDraft) -> None:
        if job.task_name == "noop":
            job.queue = "moved"
            app.configure_task("audit").defer()

    app = App(database_url, defer_middleware=audited)
    instrument(app, tracer_provider=provider)
    await face.defer(app.task(name="noop")(noop))
    [audit], [moved] = spans("send default"), spans("send moved")
    assert above(audit) == of(moved)
    app.close()


async def test_an_attempt_that_its_worker_leaves_behind_has_an_end(
    traced: App, start: Start, spans: Spans
) -> None:
    begun = asyncio.Event()

    @traced.task(name="hang")
    async def hang() -> None:
        begun.set()
        await asyncio.sleep(600)

    await hang.defer_async()
    worker = await start()
    await begun.wait()
    worker.stop()
    worker.stop()
    await until(lambda: spans("process"), "the end of the span")
    [process] = spans("process")
    assert said(process)["messaging.taskq.job.ending"] == "released"
    assert process.status.status_code is StatusCode.UNSET


async def test_of_a_tick_there_is_one_span_though_all_workers_try(
    traced: App, start: Start, spans: Spans
) -> None:
    traced.periodic(cron="* * * * * *")(traced.task(name="tick")(tick))
    await start(name="one")
    await start(name="two")
    await until(lambda: len(spans("process")) >= 3, "three ticks")
    sends = {of(span): said(span)["messaging.message.id"] for span in spans("send")}
    assert len(set(sends.values())) == len(sends)
    assert {above(span) for span in spans("process")} <= sends.keys()


# One call


def test_what_is_instrumented_can_be_as_before(
    app: App, provider: TracerProvider, spans: Spans
) -> None:
    def mine(job: JobDraft) -> None: ...

    app.job_manager.defer_middleware = (mine,)
    task = app.task(name="noop")(lambda: None)
    instrument(app, tracer_provider=provider)
    uninstrument(app)
    uninstrument(app)
    task.defer()
    app.run_worker(wait=False)
    assert spans("") == []
    assert app.defer_middleware == (mine,)
    assert app.job_manager.get_job(1).metadata is None


def test_a_second_call_changes_nothing_and_says_so(
    traced: App, provider: TracerProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(traced, tracer_provider=provider)
    assert "is instrumented already" in caplog.text
    traced.task(name="noop")(lambda: None).defer()
    assert len(spans("send")) == 1


@pytest.mark.parametrize("wrong", [{"always_link": 1}, {"database": None}, {"max_names": 0}])
def test_what_makes_no_sense_is_refused_with_what_does(app: App, wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(InvalidOption, match=f"^{name}="):
        instrument(app, **wrong)
    assert app.defer_middleware == ()
    with pytest.raises(InvalidOption, match="is no app"):
        instrument("app")  # type: ignore[arg-type]


def test_without_an_sdk_nothing_is_written(app: App) -> None:
    instrument(app)
    app.task(name="noop")(lambda: None).batch_defer({}, {})
    app.run_worker(wait=False)
    assert [job.metadata for job in app.job_manager.list_jobs().jobs] == [None, None]


def test_an_instrumented_app_is_not_kept_alive(
    database_url: str, provider: TracerProvider, meters: MeterProvider, spans: Spans
) -> None:
    app = App(database_url)
    instrument(app, tracer_provider=provider, meter_provider=meters)
    gc.collect()
    app.task(name="noop")(lambda: None).defer()
    assert len(spans("send")) == 1
    app.close()
    dead = weakref.ref(app)
    del app
    gc.collect()
    assert dead() is None


def test_without_the_extra_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; import taskq.contrib.opentelemetry"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert "pip install 'taskq-sql[opentelemetry]'" in ran.stderr.splitlines()[-1]


# Metrics


Points = dict[tuple[str, frozenset[Any]], Any]


def points(reader: InMemoryMetricReader) -> Points:
    """What is collected, by name and by the values of the attributes."""
    data = reader.get_metrics_data()
    assert data
    return {
        (metric.name, frozenset((point.attributes or {}).values())): point
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }


def test_metrics_have_the_names_and_the_figures_of_those_for_prometheus(
    traced: App, reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "FRESH_FOR", 0)
    task = traced.task(name="noop", queue="mail")(lambda: None)
    task.batch_defer({}, {})
    traced.run_worker(wait=False)
    task.defer()
    found = points(reader)
    of_job = frozenset({"mail", "noop"})
    assert found["taskq.jobs.deferred", of_job].value == 3
    assert found["taskq.jobs.ended", of_job | {"succeeded"}].value == 2
    assert found["taskq.job.run_time", of_job].count == 2
    assert found["taskq.worker.running", frozenset()].value == 0
    assert found["taskq.queue.waiting", frozenset({"mail"})].value == 1
    assert found["taskq.database.deferred", frozenset()].value == 3
    names = {name for name, _ in found}
    assert names <= {figure.name for figure in (*COUNTED, *READ)}
    # No job was rescued, and the database was always there.
    assert {figure.name for figure in (*COUNTED, *READ)} - names == {
        "taskq.jobs.rescued",
        "taskq.worker.database_failures",
    }
    with traced.replace_database("postgresql://nobody@127.0.0.1:1/nothing"):
        found = points(reader)
    assert found["taskq.database.up", frozenset()].value == 0
    assert found["taskq.jobs.deferred", of_job].value == 3
    uninstrument(traced)
    assert "taskq.database.up" not in {name for name, _ in points(reader)}


def test_a_database_that_is_read_by_another_process_is_not_read_here(
    app: App,
    meters: MeterProvider,
    reader: InMemoryMetricReader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(queries.stats, "list_figures")
    instrument(app, meter_provider=meters, database=False)
    app.task(name="noop")(lambda: None).defer()
    assert {name for name, _ in points(reader)} == {"taskq.jobs.deferred"}
