"""What all that is offered beside taskq itself has in common."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from taskq import App
from taskq.contrib.opentelemetry import instrument
from taskq.contrib.prometheus import Metrics, render

Seen = Callable[[], object]


def by_prometheus(app: App) -> Seen:
    Metrics(app)
    # What can be asked of an app is not to be what keeps it.
    of = weakref.ref(app)

    def deferred() -> object:
        app = of()
        assert app
        return b'taskq_jobs_deferred_total{queue="default",task="noop"} 1.0' in render(app)[1]

    return deferred


def by_opentelemetry(app: App) -> Seen:
    reader = InMemoryMetricReader()
    instrument(
        app,
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        meter_provider=MeterProvider([reader], shutdown_on_exit=False),
    )

    def deferred() -> object:
        data = reader.get_metrics_data()
        assert data
        return '"taskq.jobs.deferred"' in data.to_json()

    return deferred


@pytest.mark.parametrize("observe", [by_prometheus, by_opentelemetry])
def test_what_observes_an_app_lives_as_long_as_that_and_no_longer(
    database_url: str, observe: Callable[[App], Seen]
) -> None:
    app = App(database_url)
    seen = observe(app)
    gc.collect()
    app.task(name="noop")(lambda: None).defer()
    assert seen()
    app.close()
    dead = weakref.ref(app)
    del app
    gc.collect()
    assert dead() is None


@pytest.mark.parametrize(
    ("extra", "package"),
    [
        ("prometheus", "prometheus_client"),
        ("opentelemetry", "opentelemetry"),
        ("dashboard", "starlette"),
    ],
)
def test_without_the_extra_it_says_what_to_install(extra: str, package: str) -> None:
    program = f"import sys; sys.modules[{package!r}] = None; import taskq.contrib.{extra}"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert f"pip install 'taskq-sql[{extra}]'" in ran.stderr.splitlines()[-1]


def test_nothing_of_them_is_imported_where_it_is_not_asked_for() -> None:
    program = (
        "import sys, taskq, taskq.worker, taskq.cli.program\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('prometheus_client', 'opentelemetry') or name.startswith('taskq.contrib') "
        "or name == 'http.server'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"
