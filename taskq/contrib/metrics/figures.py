"""The figures: their names, units and labels, the same for whoever exports them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Kind(Enum):
    """What may be done with a figure.

    Attributes:
        COUNTER: It only grows.
        HISTOGRAM: How often something took how long.
        GAUGE: It goes up and down.
    """

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE = "gauge"


# Told apart by what they are, and not by what they say: one is looked up several times for each job.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """One of the figures.

    Attributes:
        name: As OpenTelemetry has it.
        kind: What may be done with it.
        help: What it is.
        unit: In UCUM: ``s`` for seconds, ``1`` for a part of a whole, or what is counted in braces.
        labels: What it is told apart by.
        source: As ``ListFigures`` calls it; None: it is counted by this process.
    """

    name: str
    kind: Kind
    help: str
    unit: str
    labels: Sequence[str] = ()
    source: str | None = None

    @property
    def prometheus_name(self) -> str:
        """As Prometheus has it, and as OpenTelemetry's exporter for it writes the name."""
        ending = "_seconds" if self.unit == "s" else ""
        total = "_total" if self.kind is Kind.COUNTER else ""
        return self.name.replace(".", "_") + ending + total


# In seconds: from a job that does nothing to one of half an hour.
BUCKETS: Final = (
    0.001,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)

_OF_JOBS = ("queue", "task")

DEFERRED: Final = Figure(
    name="taskq.jobs.deferred",
    kind=Kind.COUNTER,
    help="Jobs that this process has deferred.",
    unit="{job}",
    labels=_OF_JOBS,
)
STARTED: Final = Figure(
    name="taskq.jobs.started",
    kind=Kind.COUNTER,
    help="Attempts of jobs that this process has started.",
    unit="{job}",
    labels=_OF_JOBS,
)
ENDED: Final = Figure(
    name="taskq.jobs.ended",
    kind=Kind.COUNTER,
    help="Attempts of jobs that ended in this process, by how: succeeded, retried, failed, aborted …",
    unit="{job}",
    labels=(*_OF_JOBS, "status"),
)
RESCUED: Final = Figure(
    name="taskq.jobs.rescued",
    kind=Kind.COUNTER,
    help="Jobs of dead workers that this process has found.",
    unit="{job}",
    labels=_OF_JOBS,
)
RUN_TIME: Final = Figure(
    name="taskq.job.run_time",
    kind=Kind.HISTOGRAM,
    help="How long attempts of jobs took.",
    unit="s",
    labels=_OF_JOBS,
)
WAIT_TIME: Final = Figure(
    name="taskq.job.wait_time",
    kind=Kind.HISTOGRAM,
    help="How long jobs had been due when they started.",
    unit="s",
    labels=_OF_JOBS,
)
RUNNING_HERE: Final = Figure(
    name="taskq.worker.running",
    kind=Kind.GAUGE,
    help="Jobs that the workers of this process run now.",
    unit="{job}",
)
SLOTS_HERE: Final = Figure(
    name="taskq.worker.slots",
    kind=Kind.GAUGE,
    help="Jobs that the workers of this process may run at once.",
    unit="{job}",
)
CLAIM_TIME: Final = Figure(
    name="taskq.worker.claim_time",
    kind=Kind.HISTOGRAM,
    help="How long claims took, of one job or many.",
    unit="s",
)
WRITE_TIME: Final = Figure(
    name="taskq.worker.write_time",
    kind=Kind.HISTOGRAM,
    help="How long it took to write how jobs ended, one or many.",
    unit="s",
)
DATABASE_FAILURES: Final = Figure(
    name="taskq.worker.database_failures",
    kind=Kind.COUNTER,
    help="Bad moments of the database, by what the connection is for.",
    unit="{failure}",
    labels=("purpose",),
)

DATABASE_UP: Final = Figure(
    name="taskq.database.up",
    kind=Kind.GAUGE,
    help="1 if the figures of the database could be read, 0 if it is away or refuses them.",
    unit="",
)
WAITING: Final = Figure(
    name="taskq.queue.waiting",
    kind=Kind.GAUGE,
    help="Jobs that are due and wait; at least 1,000 to 10,000 are counted.",
    unit="{job}",
    labels=("queue",),
    source="waiting",
)
OLDEST_WAITING: Final = Figure(
    name="taskq.queue.oldest_waiting",
    kind=Kind.GAUGE,
    help="For how long the oldest of them has been due.",
    unit="s",
    labels=("queue",),
    source="oldest_waiting",
)
RUNNING: Final = Figure(
    name="taskq.queue.running",
    kind=Kind.GAUGE,
    help="Jobs that workers have claimed; at least 10,000 are counted.",
    unit="{job}",
    labels=("queue",),
    source="running",
)
PAUSED: Final = Figure(
    name="taskq.queue.paused",
    kind=Kind.GAUGE,
    help="1 if the queue is paused.",
    unit="",
    labels=("queue",),
    source="paused",
)
WORKERS: Final = Figure(
    name="taskq.workers",
    kind=Kind.GAUGE,
    help="Workers that are alive, of all processes.",
    unit="{worker}",
    source="workers",
)
SLOTS: Final = Figure(
    name="taskq.slots",
    kind=Kind.GAUGE,
    help="Jobs that all of them may run at once.",
    unit="{job}",
    source="slots",
)
ALL_DEFERRED: Final = Figure(
    name="taskq.database.deferred",
    kind=Kind.COUNTER,
    help="Ids that jobs have drawn, whoever deferred them; those of transactions that were rolled back, too.",
    unit="{job}",
    source="deferred",
)
DEAD_ROWS: Final = Figure(
    name="taskq.database.dead_rows",
    kind=Kind.GAUGE,
    help="Dead rows of taskq's tables, as the server's statistics have them.",
    unit="{row}",
    labels=("table",),
    source="dead_rows",
)
NOTIFICATION_QUEUE: Final = Figure(
    name="taskq.database.notification_queue_ratio",
    kind=Kind.GAUGE,
    help="How full the server's queue of notifications is, from 0 to 1.",
    unit="1",
    source="notification_queue",
)

COUNTED: Final[Sequence[Figure]] = (
    DEFERRED,
    STARTED,
    ENDED,
    RESCUED,
    RUN_TIME,
    WAIT_TIME,
    RUNNING_HERE,
    SLOTS_HERE,
    CLAIM_TIME,
    WRITE_TIME,
    DATABASE_FAILURES,
)
READ: Final[Sequence[Figure]] = (
    DATABASE_UP,
    WAITING,
    OLDEST_WAITING,
    RUNNING,
    PAUSED,
    WORKERS,
    SLOTS,
    ALL_DEFERRED,
    DEAD_ROWS,
    NOTIFICATION_QUEUE,
)
