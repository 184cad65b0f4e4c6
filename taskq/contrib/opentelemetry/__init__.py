"""Traces and metrics for OpenTelemetry: ``instrument(app)``, and all that the app defers and runs is seen.

What becomes of them the program says, by OpenTelemetry's SDK and its exporters: this needs its API alone.
"""

try:
    import opentelemetry.trace  # noqa: F401 - to say what is missing
except ModuleNotFoundError as error:
    raise ImportError(
        "traces need the package opentelemetry-api: pip install 'taskq-sql[opentelemetry]'"
    ) from error

from taskq.contrib.opentelemetry.instrumentation import instrument, uninstrument

__all__ = ["instrument", "uninstrument"]
