"""When a worker is taken for dead."""

from datetime import timedelta
from typing import Final

import click

from taskq.cli.times import read_duration
from taskq.queries.workers import WorkerState

stalled_option: Final = click.option(
    "--stalled",
    metavar="DURATION",
    callback=read_duration,
    default="30s",
    show_default=True,
    help="After how long without a heartbeat a worker is dead.",
)


def is_alive(worker: WorkerState, stalled: timedelta) -> bool:
    """Whether a worker has given a sign of life of late."""
    return worker.seconds_since_heartbeat < stalled.total_seconds()
