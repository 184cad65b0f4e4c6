"""Supervised: a process's side of its supervisor."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Mapping, MutableMapping
from http import HTTPStatus
from multiprocessing.connection import Connection
from typing import Any

from taskq.exposition import begin_to_count, render_database_metrics, render_process_metrics
from taskq.supervisor.channel import Channel, Message
from taskq.supervisor.variable import SUPERVISED
from taskq.telemetry import WorkerStarted
from taskq.worker import Worker
from taskq.worker.http.address import HttpAddress
from taskq.worker.http.pages import metrics_page, probe_page
from taskq.worker.http.request import Answer


class Supervised:
    """What one of several processes has from its supervisor, and tells it.

    When the supervisor is gone, however it ended, the worker stops as if it were asked to.

    Args:
        number: Which of them this is, from 1.
        file: The file of its side of the channel.
    """

    def __init__(self, number: int, file: int) -> None:
        self.number = number
        self._worker: Worker[Any] | None = None
        self._pages: Mapping[str, Callable[[], Answer]] = {}
        self._lock = threading.Lock()
        self._told = False
        self._told_to_leave = False
        # Not for what this process starts in its turn.
        os.set_inheritable(file, False)
        self._channel = Channel(Connection(file), self._received, self._stop)
        # In each line of the log, also of an app that sets that up itself and has %(processName)s in it.
        multiprocessing.current_process().name = f"worker-{number}"
        self._channel.start()

    @classmethod
    def of(cls, environ: MutableMapping[str, str]) -> "Supervised | None":
        """Read from the environment whether this process is supervised, and take that away from others."""
        said = environ.pop(SUPERVISED, None)
        if said is None:
            return None
        number, file = said.split(":")
        return cls(int(number), int(file))

    def take(self, worker: Worker[Any], http: HttpAddress | None) -> None:
        """Tell the supervisor of the worker, and the worker what the supervisor says.

        Args:
            worker: The worker, which has not begun to run.
            http: Where the supervisor is to answer by HTTP.
        """
        app = worker.app
        multiprocessing.current_process().name = worker.options.name
        if http is not None:
            begin_to_count(app)
        self._pages = {
            "/livez": lambda: probe_page(worker.why_not_alive()),
            "/readyz": lambda: probe_page(worker.why_not_ready()),
            "/metrics": lambda: metrics_page(lambda: render_process_metrics(app)),
            "/metrics/database": lambda: metrics_page(lambda: render_database_metrics(app)),
        }
        self._channel.send(name=worker.options.name, http=None if http is None else list(http))
        app.telemetry.subscribe(WorkerStarted, lambda _: self._channel.send(started=True))
        with self._lock:
            self._worker = worker
            told, leave = self._told, self._told_to_leave
        if told:
            worker.obey(leave=leave)

    def ended(self) -> None:
        """Tell the supervisor that the worker has run, and whether by itself."""
        if self._worker is not None and not (self._told or self._worker.was_asked):
            self._channel.send(done=True)

    # In the thread of the channel

    def _received(self, message: Message) -> None:
        if "page" in message:
            # Metrics ask the database, and what is said next must not wait for that.
            threading.Thread(target=self._answer, args=[message], daemon=True).start()
        else:
            self._stop(leave=bool(message.get("leave")))

    def _stop(self, *, leave: bool = False) -> None:
        with self._lock:
            self._told = True
            self._told_to_leave |= leave
            worker = self._worker
        if worker is not None:
            worker.obey(leave=leave)

    def _answer(self, message: Message) -> None:
        page = self._pages.get(str(message["page"]))
        if page is None:
            answer = Answer.text(HTTPStatus.SERVICE_UNAVAILABLE, "it has not started yet")
        else:
            try:
                answer = page()
            except Exception as error:
                answer = Answer.text(HTTPStatus.INTERNAL_SERVER_ERROR, repr(error))
        self._channel.send(
            number=message["number"],
            status=int(answer.status),
            body=answer.body.decode(),
            content_type=answer.content_type,
        )
