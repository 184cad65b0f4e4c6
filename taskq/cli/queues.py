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

    tally: QueueCounts
    workers: int


def _count(status: JobStatus) -> Column[Queue]:
    def cell(queue: Queue) -> Cell:
        number = queue.tally.jobs[status]
        return f"~{number:,}" if status in queue.tally.estimated else number

    return Column(status.value, cell, is_cut=False)


COLUMNS: list[Column[Queue]] = [
    Column("queue", lambda queue: queue.tally.name),
    *map(_count, JobStatus),
    Column(
        "waited",
        lambda queue: (
            None
            if queue.tally.longest_wait is None
            else timedelta(seconds=queue.tally.longest_wait)
        ),
    ),
    Column(
        "workers",
        lambda queue: queue.workers,
        lambda queue: "red" if queue.workers == 0 and queue.tally.jobs[JobStatus.TODO] else "",
        is_told_of_zero=True,
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
    tallies = manager.list_queues()
    rows = [Queue(tally, served_by(workers, tally.name)) for tally in tallies]
    print_listing(rows, COLUMNS, record=_record, as_json=json, nothing="there are no jobs")


def served_by(workers: Iterable[WorkerState], queue: str) -> int:
    """How many of some workers serve a queue."""
    return sum(worker.queues is None or queue in worker.queues for worker in workers)


def _record(queue: Queue) -> Mapping[str, Any]:
    tally = queue.tally
    return {
        "name": tally.name,
        **{status.value: tally.jobs[status] for status in JobStatus},
        "estimated": [status.value for status in JobStatus if status in tally.estimated],
        "longest_wait_seconds": tally.longest_wait,
        "workers": queue.workers,
    }
