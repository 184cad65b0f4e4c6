"""``taskq workers``: who runs jobs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

import click

from taskq.cli.command import Group
from taskq.cli.listing import Column, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import duration_option, server_now
from taskq.queries.workers import WorkerState
from taskq.times import brief


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, and whether it is alive."""

    state: WorkerState
    is_alive: bool


COLUMNS: list[Column[Worker]] = [
    Column("id", lambda worker: str(worker.state.id), is_cut=False),
    Column("name", lambda worker: worker.state.name),
    Column(
        "queues",
        lambda worker: "all" if worker.state.queues is None else ", ".join(worker.state.queues),
    ),
    Column("in hand", lambda worker: worker.state.doing),
    Column("started", lambda worker: worker.state.started_at),
    Column(
        "heartbeat",
        lambda worker: (
            f"{brief(worker.state.seconds_since_heartbeat)} ago"
            + ("" if worker.is_alive else ": dead")
        ),
        lambda worker: "" if worker.is_alive else "red",
        is_cut=False,
    ),
]

stalled_option: Final = duration_option(
    "--stalled", "30s", "After how long without a heartbeat a worker is dead."
)


def is_alive(worker: WorkerState, stalled: timedelta) -> bool:
    """Whether the worker's last heartbeat is recent enough."""
    return worker.seconds_since_heartbeat < stalled.total_seconds()


@click.group(cls=Group)
def workers() -> None:
    """Look at the workers."""


@workers.command("list", example="workers list --json", json=True)
@stalled_option
def list_workers(settings: Settings, /, *, stalled: timedelta, json: bool) -> None:
    """List the workers that are registered: what they serve, and how many jobs they have in hand.

    A worker that stops is gone from the list at once, and one that died when another one finds out.
    """
    states = settings.job_manager.list_workers()
    print_listing(
        [Worker(state, is_alive(state, stalled)) for state in states],
        COLUMNS,
        record=_record,
        as_json=json,
        nothing="no worker is running",
        now=server_now(settings.database),
    )


def _record(worker: Worker) -> Mapping[str, Any]:
    return {**asdict(worker.state), "is_alive": worker.is_alive}
