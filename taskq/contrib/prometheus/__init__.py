"""Metrics for Prometheus: what this process counts, and what the database says when it is asked.

``Metrics(app)`` begins to count; ``render(app)`` answers what a scrape gets.
"""

try:
    import prometheus_client  # noqa: F401 - to say what is missing
except ModuleNotFoundError as error:
    raise ImportError(
        "metrics for Prometheus need the package prometheus_client: pip install 'taskq-sql[prometheus]'"
    ) from error

from taskq.contrib.prometheus.exporter import Metrics, render

__all__ = ["Metrics", "render"]
