"""The figures of the database: read when they are asked for, now and then, whatever the database does."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Final, NamedTuple

from taskq import queries
from taskq.app import App
from taskq.contrib.metrics import figures
from taskq.contrib.metrics.figures import Figure
from taskq.contrib.metrics.names import Names
from taskq.database.database import Database
from taskq.database.errors import translated
from taskq.escaping import get_logger
from taskq.messages import first_line

logger: Final = get_logger("taskq.contrib.metrics")

# For how long an answer is given again, and a database that is away is not asked.
FRESH_FOR: Final = 5.0  # seconds

# For how long whoever asks waits. What is still under way then goes on, and the next one has it.
_PATIENCE = 2.0  # seconds

# Of these the largest stands for all queues beyond the bound; others are added.
_LARGEST = {figures.OLDEST_WAITING, figures.PAUSED}

# What is there of a queue also when there is nothing: a line at 0, rather than none.
_OF_EACH_QUEUE = (figures.WAITING, figures.OLDEST_WAITING, figures.RUNNING, figures.PAUSED)

_STALLED_AFTER = 30.0  # seconds, as a worker has it

_Answer = Mapping[tuple[str, str], float]


def stalled_after(app: App) -> float:
    """Seconds without a heartbeat after which a worker of an app is dead, as far as the app says it."""
    return app.worker_defaults.get("stalled_worker_timeout", _STALLED_AFTER)


class Sample(NamedTuple):
    """What a figure is now, for one set of labels."""

    figure: Figure
    labels: tuple[str, ...]
    value: float


class DatabaseFigures:
    """Reads the figures of a database, in a thread, one statement at a time.

    Args:
        database: Finds it.
        names: Which queues are told apart.
        stalled_after: Seconds without a heartbeat after which a worker does not count.
    """

    def __init__(
        self, database: Callable[[], Database], names: Names, *, stalled_after: float
    ) -> None:
        self._database = database
        self._names = names
        self._stalled_after = stalled_after
        self._lock = threading.Lock()
        self._latest: Future[_Answer] | None = None
        self._good_until = 0.0
        self._failing = False
        self._queues: set[str] = set()

    def samples(self) -> Iterator[Sample]:
        """All figures of the database; only that it is away, if it is. Takes two seconds at most."""
        answer = self._read()
        yield Sample(figures.DATABASE_UP, (), float(answer is not None))
        if answer is not None:
            for figure in figures.READ:
                if figure.source is not None:
                    yield from self._samples_of(figure, answer)

    def _samples_of(self, figure: Figure, answer: _Answer) -> Iterator[Sample]:
        values: defaultdict[str, float] = defaultdict(float)
        if figure in _OF_EACH_QUEUE:
            values.update(dict.fromkeys({*self._names.own_queues, *self._queues}, 0.0))
        for (source, label), value in answer.items():
            if source == figure.source:
                name = self._names.queue(label) if figure.labels == ("queue",) else label
                values[name] = (
                    max(values[name], value) if figure in _LARGEST else values[name] + value
                )
        if figure.labels == ("queue",):
            self._queues.update(values)
        for name, value in values.items():
            yield Sample(figure, (name,) if figure.labels else (), value)

    def _read(self) -> _Answer | None:
        with self._lock:
            latest = self._latest
            if latest is None or (latest.done() and time.monotonic() > self._good_until):
                latest = self._latest = Future()
                # Not one that keeps the process from ending.
                threading.Thread(
                    target=self._answer, args=[latest], name="taskq figures", daemon=True
                ).start()
        try:
            return latest.result(_PATIENCE)
        except Exception:
            return None

    def _answer(self, latest: "Future[_Answer]") -> None:
        try:
            database = self._database()
            with translated(database), database.engine.connect() as connection:
                answer = queries.stats.list_figures(connection, stalled_after=self._stalled_after)
        except Exception as error:
            if not self._failing:
                logger.warning(
                    "metrics go on without the figures of the database: %s",
                    first_line(error),
                    extra={"action": "figures_not_read"},
                )
            self._failing = True
            self._good_until = time.monotonic() + FRESH_FOR
            latest.set_exception(error)
        else:
            self._failing = False
            self._good_until = time.monotonic() + FRESH_FOR
            latest.set_result(answer)
