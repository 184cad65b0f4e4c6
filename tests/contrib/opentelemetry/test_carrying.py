"""Which trace a job is of, however it comes to be."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psycopg
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from taskq import App, EventDraft, JobStatus
from taskq.contrib.dashboard import Access, Dashboard
from taskq.contrib.opentelemetry import instrument
from taskq.job import Job
from taskq.queries.subscriptions import declare_subscriptions
from tests.conftest import Face
from tests.contrib.opentelemetry.conftest import Place, Spans, above, linked, noop, of, said

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
GIVEN = (int(TRACE, 16), int(PARENT, 16))


def carried(job: Job) -> Place | None:
    """Of which span a job is the child, by its metadata."""
    if not job.metadata or "traceparent" not in job.metadata:
        return None
    _, of_trace, of_span, _ = str(job.metadata["traceparent"]).split("-")
    return int(of_trace, 16), int(of_span, 16)


# What is said by hand


def test_whoever_defers_may_say_in_which_trace_also_by_sql(
    traced: App, spans: Spans, connection: psycopg.Connection
) -> None:
    task = traced.task(name="noop")(noop)
    task.configure(metadata={"traceparent": TRACEPARENT, "note": "mine"}).defer()
    job = {"task_name": "noop", "metadata": {"traceparent": TRACEPARENT}}
    connection.execute("SELECT taskq_defer_jobs(%s::jsonb)", [json.dumps([job])])
    traced.run_worker(wait=False)
    assert [above(span) for span in spans("process")] == [GIVEN] * 2
    assert linked(spans("send")[0]) == [GIVEN]
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
    traced.task(name="noop")(noop)
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


def test_in_a_batch_whoever_defers_may_say_it_of_one_job(traced: App, spans: Spans) -> None:
    task = traced.task(name="noop")(noop)
    said_here = task.configure(metadata={"traceparent": TRACEPARENT}).prepare()
    traced.job_manager.defer_jobs([task.configure().prepare(), said_here])
    traced.run_worker(wait=False)
    [send], [create] = spans("send"), spans("create")
    assert {above(span) for span in spans("process")} == {GIVEN, of(create)}
    assert set(linked(send)) == {GIVEN, of(create)}


def test_without_an_sdk_nothing_is_written(app: App) -> None:
    instrument(app)
    app.on("paid")(app.task(name="noop")(noop)).batch_defer({}, {})
    app.publish("paid")
    jobs = app.job_manager.list_jobs().jobs
    assert [job.metadata for job in jobs] == [None, None, {"event": "paid"}]


def test_without_an_sdk_the_trace_that_is_current_is_passed_on(app: App) -> None:
    instrument(app)
    task = app.task(name="noop")(noop)
    current = trace.SpanContext(*GIVEN, is_remote=True, trace_flags=trace.TraceFlags(1))
    with trace.use_span(trace.NonRecordingSpan(current)):
        task.defer()
        task.batch_defer({}, {})
    jobs = app.job_manager.list_jobs().jobs
    assert [carried(job) for job in jobs] == [GIVEN] * 3
    assert [(job.metadata or {}).get("tracelink") for job in jobs] == [None, True, True]


# Events


@pytest.fixture
def other(database_url: str) -> Iterator[App]:
    """Another program, whose workers have declared what it subscribes to."""
    with App(database_url) as other:
        other.on("paid", metadata={"by": "books"})(
            other.task(name="book", queue="books", retry=1)(lambda order: 1 / 0)
        )
        with other.database.engine.connect() as connection:
            declare_subscriptions(
                connection, [each.declared for each in other.subscribers], declared_by="w"
            )
        yield other


async def test_an_event_is_one_span_of_whose_trace_are_the_jobs_of_all_programs(
    traced: App, other: App, provider: TracerProvider, spans: Spans, face: Face
) -> None:
    instrument(other, tracer_provider=provider)
    for name in ("thank", "ship"):
        traced.on("paid")(traced.task(name=name, queue=name)(lambda order: None))
    with provider.get_tracer("web").start_as_current_span("POST /orders"):
        if face.is_async:
            await traced.publish_async("paid", order=7)
        else:
            traced.publish("paid", order=7)
    for app, queues in ((traced, ["thank", "ship"]), (other, ["books"])):
        await app.run_worker_async(wait=False, queues=queues, install_signal_handlers=False)
    [request], [publish], processes = spans("POST"), spans("publish"), spans("process")
    assert (publish.name, publish.kind) == ("publish paid", trace.SpanKind.PRODUCER)
    assert above(publish) == of(request)
    assert said(publish) == {
        "messaging.system": "taskq",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "paid",
    }
    assert spans("send") == spans("create") == []
    ran = [said(span)["messaging.taskq.task.name"] for span in processes]
    assert sorted(ran) == ["book", "book", "ship", "thank"]
    assert {above(span) for span in processes} == {of(publish)}
    assert not trace.get_current_span().get_span_context().is_valid


def test_an_event_of_other_programs_alone_is_a_span_as_well_and_may_fail(
    traced: App, other: App, spans: Spans, connection: psycopg.Connection
) -> None:
    [job_id] = traced.publish("paid", order=7)
    [publish] = spans("publish")
    job = traced.job_manager.get_job(job_id)
    assert carried(job) == of(publish)
    assert {"by": "books", "event": "paid"}.items() <= (job.metadata or {}).items()
    connection.execute("ALTER FUNCTION taskq_publish RENAME TO moved")
    with pytest.raises(Exception, match="taskq_publish"):
        traced.publish("paid", order=8)
    _, failed = spans("publish")
    assert "error.type" in said(failed)


def test_publish_middleware_may_say_in_which_trace_and_so_may_sql(
    traced: App, other: App, spans: Spans, connection: psycopg.Connection
) -> None:
    def told(event: EventDraft) -> None:
        event.metadata["traceparent"] = TRACEPARENT

    manager = traced.job_manager
    manager.publish_middleware = (told, *manager.publish_middleware)
    traced.publish("paid", order=7)
    metadata = json.dumps({"traceparent": TRACEPARENT})
    connection.execute("SELECT taskq_publish('paid', '{\"order\": 8}', metadata => %s)", [metadata])
    assert [carried(job) for job in manager.list_jobs()] == [GIVEN] * 2
    assert linked(spans("publish")[0]) == [GIVEN]


# By hand, and in place of others


def test_a_job_that_is_retried_by_hand_goes_on_in_its_trace(traced: App, spans: Spans) -> None:
    task = traced.task(name="fail")(lambda: 1 / 0)
    ids = [task.defer(), *task.batch_defer({}, {})]
    traced.run_worker(wait=False)
    traced.job_manager.retry_job_by_id(ids[0], queue="later")
    assert traced.job_manager.retry_jobs(status="failed") == 2
    traced.run_worker(wait=False)
    begun = {of(span) for span in (spans("send")[0], *spans("create"))}
    assert len(spans("process")) == 6
    assert {above(span) for span in spans("process")} == begun


@pytest.fixture
async def dashboard(traced: App) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(Dashboard(traced, authorize=lambda request: Access.OPERATE))
    async with httpx.AsyncClient(
        transport=transport,
        base_url="http://here",
        headers={"sec-fetch-site": "same-origin", "origin": "http://here"},
    ) as client:
        yield client


async def test_a_job_like_another_is_of_the_trace_of_whoever_asks_the_dashboard_for_it(
    traced: App, provider: TracerProvider, spans: Spans, dashboard: httpx.AsyncClient
) -> None:
    task = traced.task(name="noop")(noop)
    job_id = await task.configure(metadata={"note": "mine"}).defer_async()
    form = await dashboard.get(f"/defer?like={job_id}")
    assert "note" in form.text
    assert "traceparent" not in form.text
    with provider.get_tracer("web").start_as_current_span("POST /again"):
        answer = await dashboard.post(f"/jobs/{job_id}/again", data={})
    assert answer.status_code == 303
    first, second = await traced.job_manager.list_jobs_async()
    [request], (sent, again) = spans("POST"), spans("send")
    assert (carried(first), carried(second)) == (of(sent), of(again))
    assert above(again) == of(request)
    assert second.metadata is not None
    assert second.metadata["note"] == "mine"


async def test_a_job_that_replaces_one_that_waits_brings_its_trace(
    traced: App, spans: Spans, face: Face
) -> None:
    once = traced.task(name="noop")(noop).configure(queueing_lock="once")
    job_id = await face.defer(once)
    assert await face.defer(once.configure(on_conflict="replace")) == job_id
    _, second = spans("send")
    assert carried(traced.job_manager.get_job(job_id)) == of(second)
    assert said(second)["messaging.message.id"] == str(job_id)


async def test_a_job_that_is_there_by_its_idempotency_key_stays_in_its_trace(
    traced: App, spans: Spans, face: Face
) -> None:
    once = traced.task(name="noop")(noop).configure(idempotency_key="once")
    job_id = await face.defer(once)
    assert await face.defer(once) == job_id
    first, second = spans("send")
    assert carried(traced.job_manager.get_job(job_id)) == of(first)
    assert said(second)["messaging.message.id"] == str(job_id)


async def test_what_is_deferred_in_a_transaction_by_a_manager_of_its_own_is_as_any(
    traced: App, spans: Spans
) -> None:
    task = traced.task(name="noop")(noop)
    isolated = {"isolation_level": "READ COMMITTED"}
    with traced.database.engine.execution_options(**isolated).begin() as connection:
        task.configure(connection=connection).defer()
        traced.job_manager.on(connection).defer_jobs([task.configure().prepare()])
    async with traced.database.async_engine.execution_options(**isolated).begin() as opened:
        manager = traced.job_manager.on(opened)
        await manager.defer_jobs_async([task.configure().prepare()])
    jobs = (await traced.job_manager.list_jobs_async()).jobs
    assert [carried(job) for job in jobs] == [of(send) for send in spans("send")]


async def test_a_job_that_goes_back_and_is_taken_again_goes_on_in_its_trace(
    traced: App, spans: Spans
) -> None:
    begun = asyncio.Event()

    @traced.task(name="hang")
    async def hang() -> None:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(600)

    await hang.defer_async()
    worker = traced.worker(install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    await begun.wait()
    worker.stop()
    worker.stop()
    await running
    await traced.run_worker_async(wait=False, install_signal_handlers=False)
    [send], processes = spans("send"), spans("process")
    assert [above(span) for span in processes] == [of(send)] * 2
    endings = [said(span)["messaging.taskq.job.ending"] for span in processes]
    assert endings == ["released", "succeeded"]
