"""The pages: what each says, from what the worker knows of itself."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from taskq.exposition import begin_to_count, render_metrics
from taskq.worker.app import WorkerApp
from taskq.worker.http.request import Answer

Pages = Mapping[str, Callable[[], Answer]]


def pages(
    app: WorkerApp, *, not_alive: Callable[[], str | None], not_ready: Callable[[], str | None]
) -> Pages:
    """The pages of a worker, by path. Metrics are counted from now on, if their extra is installed.

    Args:
        app: Whose metrics.
        not_alive: Says why the worker should be killed; None: it should not.
        not_ready: Says why it runs no jobs at the moment; None: it does.
    """
    begin_to_count(app)
    return {
        "/metrics": lambda: metrics_page(lambda: render_metrics(app)),
        "/livez": lambda: probe_page(not_alive()),
        "/readyz": lambda: probe_page(not_ready()),
    }


def metrics_page(render: Callable[[], tuple[str, bytes]]) -> Answer:
    """A page of metrics: what renders answers the content type and the text."""
    try:
        content_type, text = render()
    except ImportError as error:
        return Answer.text(HTTPStatus.NOT_IMPLEMENTED, str(error))
    return Answer(HTTPStatus.OK, text, content_type)


def probe_page(why_not: str | None) -> Answer:
    """What a probe is answered; None: all is well."""
    if why_not is None:
        return Answer.text(HTTPStatus.OK, "ok")
    return Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, why_not)
