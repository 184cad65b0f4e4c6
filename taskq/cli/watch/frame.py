"""What is shown at one moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import Group, RenderableType
from rich.text import Text

from taskq import queries
from taskq.cli import workers
from taskq.cli.listing import Column, table_of
from taskq.cli.pausing import pauses_of, said_of
from taskq.cli.queues import Queue, columns_of, queues_of
from taskq.cli.watch.rates import Meter, Rates, Sample
from taskq.cli.workers import Worker, is_alive
from taskq.job import JobStatus
from taskq.manager import JobManager, Pause, PauseKind
from taskq.queries.job_progress import JobProgress

# So many jobs that say how far they are fit beside the rest.
_MOST_PROGRESS = 10

_PROGRESS_COLUMNS: list[Column[JobProgress]] = [
    Column("job", lambda job: str(job.job_id), is_cut=False),
    Column("task", lambda job: job.task_name),
    Column("progress", lambda job: str(job.progress)),
    Column("reported", lambda job: job.progress.reported_at),
]

_QUEUE_COLUMNS = {"queue", "todo", "doing", "waited", "workers", "paused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """The queues in which jobs wait or run, or that are paused, the paused tasks, the workers, the rates.

    Attributes:
        at: When it was, by the server's clock.
        rates: The rates; None if nothing is known before it.
        queues: The queues.
        tasks: The tasks that are paused.
        workers: The workers.
        progress: The first jobs that run and say how far they are.
    """

    at: datetime
    rates: Rates | None
    queues: list[Queue]
    tasks: list[Pause]
    workers: list[Worker]
    progress: list[JobProgress]

    def render(self, width: int) -> RenderableType:
        """What rich shows of it on a terminal of so many cells."""
        return Group(
            Text(_headline(self.at, self.rates), "bold"),
            Text(),
            table_of(self.queues, _columns_of(self.queues), width=width)[0]
            if self.queues
            else Text("no job waits or runs"),
            *self._paused_tasks(width),
            Text(),
            table_of(self.workers, workers.COLUMNS, width=width, now=self.at)[0]
            if self.workers
            else Text("no worker is running"),
            *self._render_progress(width),
        )

    def _paused_tasks(self, width: int) -> list[RenderableType]:
        if not self.tasks:
            return []
        return [Text(), table_of(self.tasks, _task_columns(self.at), width=width)[0]]

    def _render_progress(self, width: int) -> list[RenderableType]:
        if not self.progress:
            return []
        return [Text(), table_of(self.progress, _PROGRESS_COLUMNS, width=width, now=self.at)[0]]


def read_frame(manager: JobManager, meter: Meter, stalled: timedelta) -> Frame:
    """Read what is shown from the database."""
    counted = manager.list_queues(status=[JobStatus.TODO, JobStatus.DOING])
    with manager.database.engine.connect() as connection:
        traffic = queries.stats.get_traffic(connection)
        progress = queries.job_progress.list_progress(connection, _MOST_PROGRESS)
    states = manager.list_workers()
    alive = [state for state in states if is_alive(state, stalled)]
    pauses = manager.list_pauses()
    rates = meter.take(
        Sample(
            at=traffic.read_at,
            ids_drawn=traffic.ids_drawn,
            failed_attempts=traffic.failed_attempts,
            alive=sum(sum(counts.jobs.values()) for counts in counted),
        )
    )
    return Frame(
        at=traffic.read_at,
        rates=rates,
        queues=queues_of(counted, alive, pauses, traffic.read_at),
        tasks=[*pauses_of(pauses, PauseKind.TASK).values()],
        workers=[Worker(state, is_alive(state, stalled)) for state in states],
        progress=progress,
    )


def _columns_of(queues: list[Queue]) -> list[Column[Queue]]:
    return [column for column in columns_of(queues) if column.heading in _QUEUE_COLUMNS]


def _task_columns(now: datetime) -> list[Column[Pause]]:
    return [
        Column("task", lambda pause: pause.name),
        Column("paused", lambda pause: said_of(pause, now), lambda _: "yellow"),
    ]


def _headline(at: datetime, rates: Rates | None) -> str:
    time = at.astimezone().isoformat(sep=" ", timespec="seconds")
    if rates is None:
        return time
    return (
        f"{time}\nper second: {rates.deferred:,.1f} deferred, {rates.ended:,.1f} ended, "
        f"{rates.failed:,.1f} failed"
    )
