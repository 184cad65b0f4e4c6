"""``taskq queues``: what waits, runs and has ended in each queue."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import click

from taskq.cli.command import Group
from taskq.cli.listing import Cell, Column, print_listing
from taskq.cli.settings import Settings
from taskq.cli.workers import is_alive, stalled_option
from taskq.job import JobStatus
from taskq.queries.job_count import QueueCounts
from taskq.queries.workers import WorkerState


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, and how many workers that are alive serve it."""

    counts: QueueCounts
    workers: int


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
]


@click.group(cls=Group)
def queues() -> None:
    """Look at the queues."""


@queues.command("list", example="queues list --json", json=True)
@stalled_option
def list_queues(settings: Settings, /, *, stalled: timedelta, json: bool) -> None:
    """List the queues that have jobs: how many jobs of which status, and how many workers serve them.

    Jobs that wait or run are counted. With ~ in front a number is an estimate, from a sample of a big table.
    What waited longest is a job that could have started.
    """
    manager = settings.job_manager
    workers = [worker for worker in manager.list_workers() if is_alive(worker, stalled)]
    rows = [Queue(counts, served_by(workers, counts.name)) for counts in manager.list_queues()]
    print_listing(rows, COLUMNS, record=_record, as_json=json, nothing="there are no jobs")


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
    }
