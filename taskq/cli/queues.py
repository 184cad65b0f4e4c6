"""``taskq queues``: what waits, runs and has ended in each queue, and which are paused."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import click

from taskq.cli.command import Group
from taskq.cli.completion import queue_names
from taskq.cli.listing import Cell, Column, print_listing
from taskq.cli.pausing import (
    pause_one,
    pause_record,
    pauses_of,
    pausing_options,
    resume_one,
    said_of,
)
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.cli.workers import is_alive, stalled_option
from taskq.job import JobStatus
from taskq.manager import Pause, PauseKind
from taskq.queries.job_count import QueueCounts
from taskq.queries.workers import WorkerState


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, how many workers that are alive serve it, and whether it is paused: in words, too."""

    counts: QueueCounts
    workers: int
    pause: Pause | None = None
    paused: str | None = None


def _count(status: JobStatus) -> Column[Queue]:
    def cell(queue: Queue) -> Cell:
        number = queue.counts.jobs[status]
        return f"~{number:,}" if status in queue.counts.estimated else number

    return Column(status.value, cell, is_cut=False)


COLUMNS: list[Column[Queue]] = [
    Column("queue", lambda queue: queue.counts.name),
    *map(_count, JobStatus),
    Column(
        "waited",
        lambda queue: (
            None
            if queue.counts.longest_wait is None
            else timedelta(seconds=queue.counts.longest_wait)
        ),
    ),
    Column(
        "workers",
        lambda queue: queue.workers,
        lambda queue: "red" if queue.workers == 0 and queue.counts.jobs[JobStatus.TODO] else "",
        shows_zeros=True,
    ),
    Column("paused", lambda queue: queue.paused, lambda queue: "yellow" if queue.paused else ""),
]


def columns_of(rows: Sequence[Queue]) -> list[Column[Queue]]:
    """The columns for some queues: that of pauses only if there is one."""
    if any(queue.pause for queue in rows):
        return COLUMNS
    return [column for column in COLUMNS if column.heading != "paused"]


@click.group(cls=Group)
def queues() -> None:
    """Look at the queues, pause and resume them."""


@queues.command("list", example="queues list --json", json=True)
@stalled_option
def list_queues(settings: Settings, /, *, stalled: timedelta, json: bool) -> None:
    """List the queues that have jobs: how many jobs of which status, and how many workers serve them.

    Jobs that wait or run are counted. With ~ in front a number is an estimate, from a sample of a big table.
    What waited longest is a job that could have started.
    """
    manager = settings.job_manager
    workers = [worker for worker in manager.list_workers() if is_alive(worker, stalled)]
    rows = queues_of(
        manager.list_queues(), workers, manager.list_pauses(), server_now(settings.database)
    )
    print_listing(rows, columns_of(rows), record=_record, as_json=json, nothing="there are no jobs")


@queues.command(example="queues pause mail --by ada --reason 'the relay is down'")
@click.argument("name", metavar="NAME", shell_complete=queue_names)
@pausing_options
def pause(settings: Settings, /, *, name: str, by: str | None, reason: str | None) -> None:
    """Pause a queue: no job of it begins until it is resumed.

    Jobs that run finish. One that is the first of its lock holds those that follow, also in other queues.
    """
    pause_one(settings, PauseKind.QUEUE, name, by=by, reason=reason)


@queues.command(example="queues resume mail")
@click.argument("name", metavar="NAME", shell_complete=queue_names)
def resume(settings: Settings, /, *, name: str) -> None:
    """Resume a queue that is paused: its jobs begin at once."""
    resume_one(settings, PauseKind.QUEUE, name)


def queues_of(
    counted: Iterable[QueueCounts],
    workers: Sequence[WorkerState],
    pauses: Iterable[Pause],
    now: datetime,
) -> list[Queue]:
    """The queues that have jobs or are paused, by name.

    Args:
        counted: Those that have jobs.
        workers: The workers that are alive.
        pauses: What is paused; of it the queues are taken.
        now: The time by the server's clock.
    """
    counts = {each.name: each for each in counted}
    paused = pauses_of(pauses, PauseKind.QUEUE)
    nothing = dict.fromkeys(JobStatus, 0)
    return [
        Queue(
            counts=counts.get(name) or QueueCounts(name=name, jobs=nothing),
            workers=served_by(workers, name),
            pause=paused.get(name),
            paused=said_of(paused[name], now) if name in paused else None,
        )
        for name in sorted(counts.keys() | paused.keys())
    ]


def served_by(workers: Iterable[WorkerState], queue: str) -> int:
    """How many of some workers serve a queue."""
    return sum(worker.queues is None or queue in worker.queues for worker in workers)


def _record(queue: Queue) -> Mapping[str, Any]:
    counts = queue.counts
    return {
        "name": counts.name,
        **{status.value: counts.jobs[status] for status in JobStatus},
        "estimated": [status.value for status in JobStatus if status in counts.estimated],
        "longest_wait_seconds": counts.longest_wait,
        "workers": queue.workers,
        "pause": None if queue.pause is None else pause_record(queue.pause),
    }
