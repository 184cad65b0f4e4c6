"""Instrumentation: one call has an app traced and counted."""

import threading
from importlib.metadata import version
from typing import Final
from weakref import WeakKeyDictionary, ref

from opentelemetry import metrics, trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from taskq.app import App
from taskq.contrib.metrics.counting import Counting
from taskq.contrib.metrics.database import DatabaseFigures, stalled_after
from taskq.contrib.metrics.names import Names
from taskq.contrib.opentelemetry.metering import Metering
from taskq.contrib.opentelemetry.tracing import Tracing
from taskq.escaping import get_logger
from taskq.exceptions import InvalidOption
from taskq.messages import short_repr

logger: Final = get_logger("taskq.contrib.opentelemetry")

_SCOPE = "taskq"

_instrumenting = threading.Lock()
# Kept alive as long as their app is, by its telemetry: see Metering. Here they would keep the app alive.
_instrumented: "WeakKeyDictionary[App, ref[_Instrumentation]]" = WeakKeyDictionary()


def instrument(
    app: App,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    always_link: bool = False,
    create_spans: bool = True,
    database: bool = True,
    max_names: int = 100,
) -> None:
    """Have all that an app defers and runs traced and counted; a second time it does nothing.

    Args:
        app: The app. Instrument it where it is made, before a worker of it starts.
        tracer_provider: Where spans go; None: to the program's own.
        meter_provider: Where metrics go; None: to the program's own.
        always_link: Whether each attempt begins a trace of its own, linked to where its job was deferred; if
            not, all attempts of a job are of one trace.
        create_spans: Whether each job of a batch has a span of its own where it is deferred, with which its
            trace begins; if not, a batch is one span, and each attempt begins a trace that is linked to it.
        database: Whether the figures of the database are metrics, too: of one process of all, that is enough.
        max_names: How many queues, and how many tasks, that the app's tasks do not have are told apart in
            metrics; others are ``(other)``.

    Raises:
        InvalidOption: An argument is none of these.
    """
    _check(app)
    for name, given in (
        ("always_link", always_link),
        ("create_spans", create_spans),
        ("database", database),
    ):
        if not isinstance(given, bool):
            raise InvalidOption(f"{name}={short_repr(given)}: give True or False")
    with _instrumenting:
        if _known(app) is not None:
            logger.warning(
                "%s is instrumented already, and stays as it is: uninstrument it first to change that",
                repr(app),
                extra={"action": "instrumented_twice"},
            )
            return
        instrumentation = _Instrumentation(
            app,
            Names(app.tasks, max_names),
            tracer_provider,
            meter_provider,
            always_link=always_link,
            create_spans=create_spans,
            database=database,
        )
        _instrumented[app] = ref(instrumentation)


def uninstrument(app: App) -> None:
    """Undo ``instrument``; what is under way ends here, as far as traces go. Nothing is to be undone twice.

    Raises:
        InvalidOption: It is no app.
    """
    _check(app)
    with _instrumenting:
        if (instrumentation := _known(app)) is not None:
            instrumentation.close()
            del _instrumented[app]


class _Instrumentation:
    """What is subscribed to an app's telemetry, and how its jobs come to know their trace."""

    def __init__(
        self,
        app: App,
        names: Names,
        tracer_provider: TracerProvider | None,
        meter_provider: MeterProvider | None,
        *,
        always_link: bool,
        create_spans: bool,
        database: bool,
    ) -> None:
        taskq_version = version("taskq-sql")
        meter = metrics.get_meter(_SCOPE, taskq_version, meter_provider)
        tracer = trace.get_tracer(_SCOPE, taskq_version, tracer_provider)
        figures = None
        if database:
            figures = DatabaseFigures(lambda: app.database, names, stalled_after=stalled_after(app))
        self._metering = Metering(meter, figures, self)
        self._counting = Counting(app.telemetry, self._metering, names)
        self._tracing = Tracing(
            app.telemetry, tracer, app.tasks, always_link=always_link, create_spans=create_spans
        )
        self._manager = manager = app.job_manager
        # Last, so that what the others say of a trace holds.
        manager.defer_middleware = (*manager.defer_middleware, self._tracing.carry)
        manager.publish_middleware = (*manager.publish_middleware, self._tracing.carry_event)

    def close(self) -> None:
        self._counting.close()
        self._metering.close()
        self._tracing.close()
        manager = self._manager
        manager.defer_middleware = tuple(
            other for other in manager.defer_middleware if other != self._tracing.carry
        )
        manager.publish_middleware = tuple(
            other for other in manager.publish_middleware if other != self._tracing.carry_event
        )


def _known(app: App) -> _Instrumentation | None:
    known = _instrumented.get(app)
    return None if known is None else known()


def _check(app: object) -> None:
    if not isinstance(app, App):
        raise InvalidOption(f"{short_repr(app)} is no app: give the App that is to be instrumented")
