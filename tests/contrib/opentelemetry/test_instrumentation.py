"""One call has an app traced and counted, and another one ends that."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from taskq import App, EventDraft, JobDraft
from taskq.contrib.opentelemetry import instrument, uninstrument
from taskq.exceptions import InvalidOption
from tests.contrib.opentelemetry.conftest import Spans, noop


def test_what_is_instrumented_can_be_as_before(
    app: App, provider: TracerProvider, spans: Spans
) -> None:
    def mine(job: JobDraft) -> None: ...

    def of_event(event: EventDraft) -> None: ...

    app.job_manager.defer_middleware = (mine,)
    app.job_manager.publish_middleware = (of_event,)
    task = app.task(name="noop")(noop)
    instrument(app, tracer_provider=provider)
    uninstrument(app)
    uninstrument(app)
    task.defer()
    app.run_worker(wait=False)
    assert spans("") == []
    assert app.defer_middleware == (mine,)
    assert app.publish_middleware == (of_event,)
    assert app.job_manager.get_job(1).metadata is None


def test_a_second_call_changes_nothing_and_says_so(
    traced: App, provider: TracerProvider, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    instrument(traced, tracer_provider=provider)
    assert "is instrumented already" in caplog.text
    traced.task(name="noop")(noop).defer()
    assert len(spans("send")) == 1


@pytest.mark.parametrize(
    "wrong", [{"always_link": 1}, {"create_spans": "no"}, {"database": None}, {"max_names": 0}]
)
def test_what_makes_no_sense_is_refused_with_what_does(app: App, wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(InvalidOption, match=f"^{name}="):
        instrument(app, **wrong)
    assert app.defer_middleware == ()
    with pytest.raises(InvalidOption, match="is no app"):
        instrument("app")  # type: ignore[arg-type]


def test_without_an_sdk_nothing_is_written(app: App) -> None:
    instrument(app)
    app.task(name="noop")(noop).batch_defer({}, {})
    app.run_worker(wait=False)
    assert [job.metadata for job in app.job_manager.list_jobs().jobs] == [None, None]
