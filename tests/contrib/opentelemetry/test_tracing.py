"""Spans: where jobs are deferred, and one for each attempt."""

import asyncio
from itertools import cycle
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from taskq import AlreadyEnqueued, App, JobDraft
from taskq.contrib.opentelemetry import instrument
from tests.conftest import Face
from tests.contrib.conftest import Start, until
from tests.contrib.opentelemetry.conftest import Spans, above, linked, noop, of, said

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
        "code.function.name": "tests.contrib.opentelemetry.test_tracing.charged",
    }
    assert process.status.status_code is StatusCode.UNSET


async def charged() -> None: ...


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
    child = traced.task(name="child", queue="children")(noop)

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


# Several at once


async def test_jobs_of_a_batch_are_traces_of_their_own_that_the_batch_links_to_and_they_to_it(
    traced: App, provider: TracerProvider, spans: Spans, face: Face
) -> None:
    task = traced.task(name="fail", queue="mail", retry=1)(lambda: 1 / 0)
    with provider.get_tracer("web").start_as_current_span("POST /orders"):
        ids = await face.batch(task, *[{}] * 3)
    await traced.run_worker_async(wait=False, install_signal_handlers=False)
    [request], [send] = spans("POST"), spans("send")
    creates, processes = spans("create"), spans("process")
    assert (send.name, send.kind, above(send)) == ("send mail", SpanKind.CLIENT, of(request))
    assert said(send)["messaging.batch.message_count"] == 3
    assert "messaging.message.id" not in said(send)
    assert linked(send) == [of(create) for create in creates]
    assert said(creates[0]) == {
        "messaging.system": "taskq",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "mail",
        "messaging.message.id": str(ids[0]),
        "messaging.taskq.task.name": "fail",
    }
    for job_id, create in zip(ids, creates, strict=True):
        assert (create.name, create.kind) == ("create mail", SpanKind.PRODUCER)
        assert said(create)["messaging.message.id"] == str(job_id)
        assert (create.parent, linked(create)) == (None, [of(send)])
        attempts = [p for p in processes if said(p)["messaging.message.id"] == str(job_id)]
        assert [said(span)["messaging.taskq.job.attempt"] for span in attempts] == [1, 2]
        assert [above(span) for span in attempts] == [of(create)] * 2
        assert [linked(span) for span in attempts] == [[]] * 2
    assert len({of(span)[0] for span in (send, *processes)}) == 4


async def test_a_batch_may_be_one_span_to_which_each_attempt_is_linked(
    app: App, provider: TracerProvider, spans: Spans, face: Face
) -> None:
    instrument(app, tracer_provider=provider, create_spans=False)
    await face.batch(app.task(name="noop")(noop), *[{}] * 3)
    await app.run_worker_async(wait=False, install_signal_handlers=False)
    [send], processes = spans("send"), spans("process")
    assert (send.kind, spans("create")) == (SpanKind.PRODUCER, [])
    assert [span.parent for span in processes] == [None] * 3
    assert len({of(span)[0] for span in [send, *processes]}) == 4
    assert [linked(span) for span in processes] == [[of(send)]] * 3


def test_of_jobs_of_a_batch_that_are_not_deferred_no_span_is_seen(
    traced: App, spans: Spans
) -> None:
    once = traced.task(name="noop")(noop).configure(queueing_lock="once", on_conflict="skip")
    assert once.batch_defer({}, {}) == [1, None]
    assert [said(create)["messaging.message.id"] for create in spans("create")] == ["1"]
    with pytest.raises(AlreadyEnqueued):
        once.configure(on_conflict="raise").batch_defer({}, {})
    assert len(spans("create")) == 1
    assert [linked(send) for send in spans("send")] == [[of(spans("create")[0])], []]


def test_which_jobs_of_a_batch_are_traced_the_sampler_says_for_each(
    app: App, exporter: InMemorySpanExporter, spans: Spans
) -> None:
    provider = TracerProvider(sampler=ParentBased(EveryOther()), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrument(app, tracer_provider=provider)
    app.task(name="noop")(noop).batch_defer(*[{}] * 4)
    app.run_worker(wait=False)
    [send], creates, processes = spans("send"), spans("create"), spans("process")
    assert [said(create)["messaging.message.id"] for create in creates] == ["2", "4"]
    assert linked(send) == [of(create) for create in creates]
    assert [above(process) for process in processes] == [of(create) for create in creates]


class EveryOther(Sampler):
    """Samples the first, the third, and so on."""

    def __init__(self) -> None:
        self._decisions = cycle([Decision.RECORD_AND_SAMPLE, Decision.DROP])

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        return SamplingResult(next(self._decisions))

    def get_description(self) -> str:
        return "EveryOther"


def test_each_attempt_may_begin_a_trace_of_its_own(
    app: App, provider: TracerProvider, spans: Spans
) -> None:
    instrument(app, tracer_provider=provider, always_link=True)
    task = app.task(name="noop")(noop)
    task.defer()
    task.batch_defer({}, {})
    app.run_worker(wait=False)
    processes = spans("process")
    assert [span.parent for span in processes] == [None] * 3
    begun = [spans("send")[0], *spans("create")]
    assert [linked(span) for span in processes] == [[of(span)] for span in begun]


async def test_calls_at_the_same_time_keep_their_own_traces(
    traced: App, provider: TracerProvider, spans: Spans
) -> None:
    task = traced.task(name="noop")(noop)

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
    once = traced.task(name="noop")(noop).configure(queueing_lock="once")
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


async def test_of_a_tick_there_is_one_span_though_all_workers_try_and_it_begins_a_trace(
    traced: App, provider: TracerProvider, start: Start, spans: Spans
) -> None:
    traced.periodic(cron="* * * * * *")(traced.task(name="tick")(tick))
    with provider.get_tracer("main").start_as_current_span("main"):
        await start(name="one")
        await start(name="two")
    await until(lambda: len(spans("process")) >= 3, "three ticks")
    sends = {of(span): said(span)["messaging.message.id"] for span in spans("send")}
    assert len(set(sends.values())) == len(sends)
    assert {above(span) for span in spans("process")} <= sends.keys()
    assert [span.parent for span in spans("send")] == [None] * len(sends)
