"""Metrics as text for Prometheus, which a worker and the dashboard serve.

By name, and when it is asked for: ``taskq.contrib.prometheus`` is an extra, which is above this module and
may not be installed.
"""

from collections.abc import Callable
from typing import Any, cast

from taskq.import_path import import_named

_RENDER = "taskq.contrib.prometheus:render"
_RENDER_PROCESS = "taskq.contrib.prometheus.exporter:render_process"
_RENDER_DATABASE = "taskq.contrib.prometheus.exporter:render_database"
_BEGIN = "taskq.contrib.prometheus.exporter:metrics_of"


def begin_to_count(app: object) -> None:
    """Count for an app's metrics from now on, if their extra is installed."""
    try:
        begin = cast("Callable[[Any], object]", import_named(_BEGIN))
    except ImportError:
        return  # to render them says what is missing
    begin(app)


def render_metrics(app: object) -> tuple[str, bytes]:
    """The metrics of an app: the content type, and the text. It may wait two seconds for the database.

    Raises:
        ImportError: The extra is not installed; it says what to do.
    """
    return _render(_RENDER, app)


def render_process_metrics(app: object) -> tuple[str, bytes]:
    """Those that this process counts, and not those of the database, for a supervisor of several.

    Raises:
        ImportError: The extra is not installed; it says what to do.
    """
    return _render(_RENDER_PROCESS, app)


def render_database_metrics(app: object) -> tuple[str, bytes]:
    """Those of the database, which are the same in each process.

    Raises:
        ImportError: The extra is not installed; it says what to do.
    """
    return _render(_RENDER_DATABASE, app)


def _render(path: str, app: object) -> tuple[str, bytes]:
    return cast("Callable[[Any], tuple[str, bytes]]", import_named(path))(app)
