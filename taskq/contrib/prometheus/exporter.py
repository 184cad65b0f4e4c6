"""The figures as metrics of prometheus_client."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from taskq.app import App
from taskq.contrib.metrics.counting import Counting
from taskq.contrib.metrics.database import DatabaseFigures, stalled_after
from taskq.contrib.metrics.figures import BUCKETS, COUNTED, READ, Figure, Kind
from taskq.contrib.metrics.names import Names
from taskq.exceptions import InvalidOption
from taskq.messages import short_repr

_making = threading.Lock()
# Whether the figures of the database are left out of what is rendered here.
_without_database: ContextVar[bool] = ContextVar("taskq.without_database", default=False)
# Kept alive as long as their app is, by its telemetry: see _Recorder. Here they would keep the app alive.
_metrics_of: "WeakKeyDictionary[App, ref[Metrics]]" = WeakKeyDictionary()


class Metrics:
    """Counts what an app does in this process; ``render`` and the worker's ``/metrics`` show it.

    Args:
        app: The app. Make it where the app is made, so that all that follows is counted.
        registry: Where the metrics are registered, such as ``prometheus_client.REGISTRY``; None: one of its
            own.
        database: Whether the figures of the database are exported, too: by one process of all, that is
            enough.
        max_names: How many queues, and how many tasks, that the app's tasks do not have are told apart;
            others are ``(other)``.

    Attributes:
        registry: Where they are registered.

    Raises:
        InvalidOption: An argument is none of these, or the registry has the metrics of another app.
    """

    def __init__(
        self,
        app: App,
        *,
        registry: CollectorRegistry | None = None,
        database: bool = True,
        max_names: int = 100,
    ) -> None:
        _check(app, registry, database)
        self.registry: CollectorRegistry = CollectorRegistry() if registry is None else registry
        names = Names(app.tasks, max_names)
        self._collectors: list[Collector] = []
        self._of_database: CollectorRegistry = CollectorRegistry()
        try:
            recorder = _Recorder({figure: self._metric(figure) for figure in COUNTED}, self)
            if database:
                figures = DatabaseFigures(
                    lambda: app.database, names, stalled_after=stalled_after(app)
                )
                collector = _DatabaseCollector(figures)
                self._register(collector)
                self._of_database.register(collector)
        except ValueError as error:
            self._unregister()
            raise InvalidOption(
                f"registry={short_repr(registry)} has metrics of taskq already: give each app one of its own"
            ) from error
        self._counting = Counting(app.telemetry, recorder, names)
        self._app = app
        _metrics_of[app] = ref(self)

    def render(self) -> tuple[str, bytes]:
        """What a scrape gets: the content type, and the text.

        It waits for the database, for two seconds at most: where an event loop runs, call it in a thread.
        """
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self.registry)

    def render_process(self) -> tuple[str, bytes]:
        """The same without the figures of the database."""
        token = _without_database.set(True)
        try:
            return self.render()
        finally:
            _without_database.reset(token)

    def render_database(self) -> tuple[str, bytes]:
        """The figures of the database alone."""
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(self._of_database)

    def close(self) -> None:
        """Count no more, and take the metrics out of their registry."""
        self._counting.close()
        self._unregister()
        with _making:
            if (known := _metrics_of.get(self._app)) is not None and known() is self:
                del _metrics_of[self._app]

    def _metric(self, figure: Figure) -> Counter | Gauge | Histogram:
        common: dict[str, Any] = {
            "name": figure.prometheus_name,
            "documentation": figure.help,
            "labelnames": figure.labels,
            "registry": None,
        }
        metric: Counter | Gauge | Histogram
        if figure.kind is Kind.COUNTER:
            metric = Counter(**common)
        elif figure.kind is Kind.HISTOGRAM:
            metric = Histogram(**common, buckets=BUCKETS)
        else:
            # With several processes behind one exporter: those that live, together.
            metric = Gauge(**common, multiprocess_mode="livesum")
        self._register(metric)
        return metric

    def _register(self, collector: Collector) -> None:
        self.registry.register(collector)
        self._collectors.append(collector)

    def _unregister(self) -> None:
        while self._collectors:
            self.registry.unregister(self._collectors.pop())


def render(app: App) -> tuple[str, bytes]:
    """What a scrape of an app gets: the content type, and the text.

    Those of the ``Metrics`` that were made for the app; else they are made here, and count from now on.

    Raises:
        InvalidOption: It is no app.
    """
    return metrics_of(app).render()


def render_process(app: App) -> tuple[str, bytes]:
    """What ``render`` answers, without the figures of the database."""
    return metrics_of(app).render_process()


def render_database(app: App) -> tuple[str, bytes]:
    """The figures of the database, of what ``render`` answers."""
    return metrics_of(app).render_database()


def metrics_of(app: App) -> Metrics:
    """The metrics of an app, made if there are none.

    Raises:
        InvalidOption: It is no app.
    """
    _check(app, None, True)
    with _making:
        known = _metrics_of.get(app)
        metrics = None if known is None else known()
        return Metrics(app) if metrics is None else metrics


class _Recorder:
    """Keeps the figures in metrics, of which it remembers each with its labels.

    Args:
        metrics: The metrics.
        owner: What is to live as long as this does, which is as long as it is subscribed.
    """

    def __init__(
        self, metrics: Mapping[Figure, Counter | Gauge | Histogram], owner: Metrics
    ) -> None:
        self._metrics = metrics
        self._owner = owner
        # Looked up several times for each job, a tenth as long as by the metric itself.
        self._labelled: dict[tuple[Figure, tuple[str, ...]], Any] = {}

    def add(self, figure: Figure, amount: float, labels: tuple[str, ...] = ()) -> None:
        self._of(figure, labels).inc(amount)

    def observe(self, figure: Figure, seconds: float, labels: tuple[str, ...] = ()) -> None:
        self._of(figure, labels).observe(seconds)

    def _of(self, figure: Figure, labels: tuple[str, ...]) -> Any:
        key = figure, labels
        if key not in self._labelled:
            metric = self._metrics[figure]
            self._labelled[key] = metric.labels(*labels) if figure.labels else metric
        return self._labelled[key]


_FAMILIES: Final[Mapping[Kind, Callable[..., GaugeMetricFamily | CounterMetricFamily]]] = {
    Kind.GAUGE: GaugeMetricFamily,
    Kind.COUNTER: CounterMetricFamily,
}


class _DatabaseCollector(Collector):
    """Asks for the figures of the database when it is scraped."""

    def __init__(self, figures: DatabaseFigures) -> None:
        self._figures = figures

    def describe(self) -> Iterator[Metric]:
        """What it collects, without asking: a registry wants to know it at once."""
        yield from (_family(figure) for figure in READ)

    def collect(self) -> Iterator[Metric]:
        """Read them; of a database that is away only that it is."""
        if _without_database.get():
            return
        families: dict[Figure, GaugeMetricFamily | CounterMetricFamily] = {}
        for figure, labels, value in self._figures.samples():
            family = families.setdefault(figure, _family(figure))
            family.add_metric(labels, value)
        yield from families.values()


def _family(figure: Figure) -> GaugeMetricFamily | CounterMetricFamily:
    return _FAMILIES[figure.kind](figure.prometheus_name, figure.help, labels=figure.labels)


def _check(app: object, registry: object, database: object) -> None:
    if not isinstance(app, App):
        raise InvalidOption(
            f"{short_repr(app)} is no app: give the App whose jobs are to be counted"
        )
    if not (registry is None or isinstance(registry, CollectorRegistry)):
        raise InvalidOption(
            f"registry={short_repr(registry)}: give a CollectorRegistry of prometheus_client, or None for "
            "one of its own"
        )
    if not isinstance(database, bool):
        raise InvalidOption(f"database={short_repr(database)}: give True or False")
