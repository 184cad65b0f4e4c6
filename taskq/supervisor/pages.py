"""The pages of a supervisor: what its processes say, put together. Called in threads."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from http import HTTPStatus
from time import monotonic

from taskq.supervisor.channel import Message
from taskq.supervisor.merging import merge
from taskq.supervisor.process import WorkerProcess
from taskq.worker.http.request import Answer

# For a process to answer: metrics wait two seconds for the database.
_PATIENCE = 5.0  # seconds


def pages(
    running: Callable[[], Sequence[WorkerProcess]], *, not_ready: Callable[[], str | None]
) -> Mapping[str, Callable[[], Answer]]:
    """The pages, by path.

    Args:
        running: Says which processes run.
        not_ready: Says why the supervisor itself is not ready; None: it is.
    """
    return {
        "/metrics": lambda: _metrics(running()),
        "/livez": lambda: _probe(running(), "/livez", None),
        "/readyz": lambda: _probe(running(), "/readyz", not_ready()),
    }


def _probe(processes: Sequence[WorkerProcess], page: str, why_not: str | None) -> Answer:
    said = [why_not] if why_not else []
    for name, answer in _ask(processes, page).items():
        if answer is None:
            said.append(f"{name} does not answer")
        elif answer["status"] != HTTPStatus.OK:
            said.append(f"{name}: {str(answer['body']).strip()}")
    if not said:
        return Answer.text(HTTPStatus.OK, "ok")
    return Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(said))


def _metrics(processes: Sequence[WorkerProcess]) -> Answer:
    # One that does not answer has no series this time, as a target that is down.
    answers = {name: said for name, said in _ask(processes, "/metrics").items() if said}
    for answer in answers.values():
        if answer["status"] == HTTPStatus.NOT_IMPLEMENTED:
            return Answer.text(HTTPStatus.NOT_IMPLEMENTED, str(answer["body"]).strip())
    good = {name: said for name, said in answers.items() if said["status"] == HTTPStatus.OK}
    if not good:
        return Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, "no process answers with metrics")
    of_all = ""
    for process in processes:
        if process.name in good:
            said = _ask([process], "/metrics/database")[process.name]
            if said is not None and said["status"] == HTTPStatus.OK:
                of_all = str(said["body"])
                break
    text = merge({name: str(said["body"]) for name, said in good.items()}, of_all)
    content_type = str(next(iter(good.values()))["content_type"])
    return Answer(HTTPStatus.OK, text.encode(), content_type)


def _ask(processes: Sequence[WorkerProcess], page: str) -> dict[str, Message | None]:
    asked = {process.name: process.ask(page) for process in processes}
    until = monotonic() + _PATIENCE
    answers: dict[str, Message | None] = {}
    for name, future in asked.items():
        try:
            answers[name] = future.result(max(until - monotonic(), 0))
        except (TimeoutError, CancelledError):
            answers[name] = None
    return answers
