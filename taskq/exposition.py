"""Metrics as text for Prometheus, which a worker and the dashboard serve.

By name, and when it is asked for: ``taskq.contrib.prometheus`` is an extra, which is above this module and
may not be installed.
"""

from collections.abc import Callable
from typing import Any, cast

from taskq.import_path import import_named

_RENDER = "taskq.contrib.prometheus:render"
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
    render = cast("Callable[[Any], tuple[str, bytes]]", import_named(_RENDER))
    return render(app)
