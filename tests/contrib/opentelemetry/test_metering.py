"""Metrics as OpenTelemetry has them."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from taskq import App, queries
from taskq.contrib.metrics import database
from taskq.contrib.metrics.figures import COUNTED, READ
from taskq.contrib.opentelemetry import instrument, uninstrument

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
