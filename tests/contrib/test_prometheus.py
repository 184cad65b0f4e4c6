"""Metrics for Prometheus: what is counted, what is read, and what happens when that is not to be had."""

import asyncio
import threading
import time
from datetime import timedelta

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from taskq import App, Snooze, queries
from taskq.contrib.metrics import database
from taskq.contrib.metrics.figures import COUNTED, READ
from taskq.contrib.prometheus import Metrics, render
from taskq.exceptions import InvalidOption
from tests.contrib.conftest import Start, until

Scraped = dict[tuple[str, frozenset[str]], float]


def scrape(app: App) -> Scraped:
    """What Prometheus reads, by name and by the values of the labels."""
    kind, text = render(app)
    assert kind.startswith("text/plain; version=")
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(scraped: Scraped, name: str, *labels: str) -> float | None:
    return scraped.get((name, frozenset(labels)))


def test_jobs_are_counted_by_queue_and_task_from_being_deferred_to_how_they_end(app: App) -> None:
    Metrics(app)
    errors = iter([ConnectionError("not yet"), Snooze(timedelta(0)), ValueError("no")])

    @app.task(name="fail", queue="mail", retry=1)
    def fail() -> None:
        raise next(errors)

    @app.task(name="sleep", aliases=["nap"])
    async def sleep() -> None:
        await asyncio.sleep(0.2)

    fail.defer()
    app.configure_task("nap").batch_defer({}, {})
    sleep.configure(queueing_lock="once").defer()
    assert sleep.configure(queueing_lock="once", on_conflict="skip").defer() is None
    app.run_worker(wait=False, concurrency=10)
    scraped = scrape(app)
    assert value(scraped, "taskq_jobs_deferred_total", "mail", "fail") == 1
    assert value(scraped, "taskq_jobs_deferred_total", "default", "sleep") == 3
    assert value(scraped, "taskq_jobs_started_total", "mail", "fail") == 3
    for status in ("retried", "snoozed", "failed"):
        assert value(scraped, "taskq_jobs_ended_total", "mail", "fail", status) == 1
    assert value(scraped, "taskq_jobs_ended_total", "default", "sleep", "succeeded") == 3
    assert value(scraped, "taskq_job_run_time_seconds_count", "default", "sleep") == 3
    run_time = value(scraped, "taskq_job_run_time_seconds_sum", "default", "sleep") or 0
    # In milliseconds, as the loop's clock goes: their sum may be off by the last bits of a float.
    assert 0.6 <= round(run_time, 3) < 30
    assert value(scraped, "taskq_job_run_time_seconds_bucket", "default", "sleep", "0.1") == 0
    assert value(scraped, "taskq_job_wait_time_seconds_count", "mail", "fail") == 3
    assert (value(scraped, "taskq_worker_claim_time_seconds_count") or 0) > 0
    assert (value(scraped, "taskq_worker_write_time_seconds_count") or 0) > 0
    assert value(scraped, "taskq_worker_running") == value(scraped, "taskq_worker_slots") == 0


async def test_what_runs_and_how_many_slots_there_are_is_seen_meanwhile(
    app: App, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "FRESH_FOR", 0)
    Metrics(app)
    go_on = asyncio.Event()
    begun: list[None] = []

    @app.task(name="wait", queue="slow")
    async def wait() -> None:
        begun.append(None)
        await go_on.wait()

    await wait.batch_defer_async({}, {}, {})
    worker = await start(concurrency=2, prefetch=0)
    await until(lambda: len(worker.running_jobs) == 2, "two jobs that run")
    scraped = await asyncio.to_thread(scrape, app)
    assert value(scraped, "taskq_worker_running") == value(scraped, "taskq_worker_slots") == 2
    assert value(scraped, "taskq_workers") == 1
    assert value(scraped, "taskq_slots") == 2
    assert value(scraped, "taskq_queue_running", "slow") == 2
    assert value(scraped, "taskq_queue_waiting", "slow") == 1
    assert 0 < (value(scraped, "taskq_queue_oldest_waiting_seconds", "slow") or 0) < 30
    assert value(scraped, "taskq_database_up") == 1
    assert value(scraped, "taskq_database_deferred_total") == 3
    assert value(scraped, "taskq_database_notification_queue_ratio") == 0
    assert (value(scraped, "taskq_database_dead_rows", "taskq_jobs") or 0) >= 0
    go_on.set()
    # Of the third one as well, which is claimed once the others have ended.
    await until(lambda: len(begun) == 3 and not worker.running_jobs, "the end of the jobs")
    await app.job_manager.pause_queue_async("slow")
    scraped = await asyncio.to_thread(scrape, app)
    # A line at 0, and no gap.
    assert value(scraped, "taskq_queue_waiting", "slow") == 0
    assert value(scraped, "taskq_queue_paused", "slow") == 1


def test_every_figure_is_exported_and_nothing_else(app: App) -> None:
    Metrics(app)
    app.task(lambda: None)
    names = {
        line.split()[2]
        for line in render(app)[1].decode().splitlines()
        if line.startswith("# TYPE") and not line.split()[2].endswith("_created")
    }
    assert names == {figure.prometheus_name for figure in (*COUNTED, *READ)}


def test_a_database_that_is_away_breaks_no_scrape_and_is_seen_when_it_is_back(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "FRESH_FOR", 0)
    Metrics(app)
    app.task(name="noop")(lambda: None).defer()
    with app.replace_database("postgresql://nobody@127.0.0.1:1/nothing"):
        for _ in range(2):
            scraped = scrape(app)
            assert value(scraped, "taskq_jobs_deferred_total", "default", "noop") == 1
            assert value(scraped, "taskq_database_up") == 0
            assert value(scraped, "taskq_queue_waiting", "default") is None
    [logged] = [record for record in caplog.records if "metrics go on without" in record.message]
    assert logged.levelname == "WARNING"
    scraped = scrape(app)
    assert (
        value(scraped, "taskq_database_up") == value(scraped, "taskq_queue_waiting", "default") == 1
    )


def test_a_database_that_hangs_keeps_a_scrape_for_a_moment_and_gets_one_statement(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "FRESH_FOR", 0)
    monkeypatch.setattr(database, "_PATIENCE", 0.2)
    Metrics(app)
    before = threading.active_count()
    with connection.transaction():
        connection.execute("LOCK TABLE taskq_jobs")
        began = time.monotonic()
        for _ in range(3):
            assert value(scrape(app), "taskq_database_up") == 0
        assert time.monotonic() - began < 10
        assert threading.active_count() <= before + 1
    deadline = time.monotonic() + 15
    while value(scrape(app), "taskq_database_up") != 1:
        assert time.monotonic() < deadline


def test_however_often_it_is_scraped_the_database_is_asked_now_and_then(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []
    list_figures = queries.stats.list_figures

    def counted(connection: queries.connection.Connection, *, stalled_after: float) -> object:
        asked.append(stalled_after)
        return list_figures(connection, stalled_after=stalled_after)

    monkeypatch.setattr(queries.stats, "list_figures", counted)
    Metrics(app)
    for _ in range(20):
        render(app)
    assert asked == [30.0]


def test_names_beyond_the_bound_are_put_together(app: App) -> None:
    Metrics(app, max_names=2)
    known = app.task(name="known", queue="own")(lambda: None)
    for n in range(5):
        known.configure(queue=f"tenant {n}").defer()
        app.configure_task(f"unknown {n}").defer()
    known.defer()
    scraped = scrape(app)
    deferred = {
        labels: value
        for (name, labels), value in scraped.items()
        if name == "taskq_jobs_deferred_total"
    }
    assert deferred[frozenset({"own", "known"})] == 1
    assert deferred[frozenset({"(other)", "known"})] == 4
    # The queue "default", of which no task is, is one of the first two.
    assert sum(deferred.values()) == 11
    assert {label for labels in deferred for label in labels} == {
        *("own", "known", "(other)", "tenant 0", "default", "unknown 0", "unknown 1"),
    }
    # What the database says of them is put together, too.
    assert value(scraped, "taskq_queue_waiting", "(other)") == 4
    assert value(scraped, "taskq_queue_waiting", "default") == 5


def test_figures_of_the_database_may_be_left_to_another_process(app: App) -> None:
    Metrics(app, database=False)
    assert not any(name.startswith("taskq_database") for name, _ in scrape(app))


def test_a_registry_of_the_user_takes_the_metrics_of_one_app(app: App, database_url: str) -> None:
    registry = CollectorRegistry(auto_describe=True)
    metrics = Metrics(app, registry=registry)
    assert registry.get_sample_value("taskq_database_up") == 1
    with App(database_url) as other:
        with pytest.raises(InvalidOption, match="give each app one of its own"):
            Metrics(other, registry=registry)
        metrics.close()
        assert registry.get_sample_value("taskq_database_up") is None
        Metrics(other, registry=registry)
        assert registry.get_sample_value("taskq_database_up") == 1
    app.task(name="noop")(lambda: None).defer()
    assert registry.get_sample_value("taskq_jobs_deferred_total") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"registry": "mine"},
        {"database": 1},
        {"max_names": 0},
        {"max_names": True},
        {"max_names": "x"},
    ],
)
def test_what_makes_no_sense_is_refused_with_what_does(app: App, wrong: dict[str, object]) -> None:
    [name] = wrong
    with pytest.raises(InvalidOption, match=f"^{name}="):
        Metrics(app, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="is no app"):
        render("app")  # type: ignore[arg-type]
