"""``taskq watch``: the command."""

import time
from contextlib import suppress
from datetime import timedelta

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from taskq.cli.command import command
from taskq.cli.listing import console, is_terminal
from taskq.cli.settings import Settings
from taskq.cli.times import duration_option
from taskq.cli.watch.frame import read_frame
from taskq.cli.watch.rates import Meter
from taskq.cli.workers import stalled_option
from taskq.escaping import escaped
from taskq.exceptions import DatabaseUnavailable
from taskq.manager import JobManager

_SHORTEST = timedelta(milliseconds=100)

_IDLE = 4  # times what reading a frame took, at least until the next one


@command(example="watch --interval 5s")
@duration_option("--interval", "2s", "How often to look.")
@click.option("--once", is_flag=True, help="Show one frame, as where there is no terminal.")
@stalled_option
def watch(settings: Settings, /, *, interval: timedelta, once: bool, stalled: timedelta) -> None:
    """Watch the queues in which jobs wait or run, the workers, and how fast jobs come and go.

    Ctrl-C ends it. Where there is no terminal it shows one frame, after the interval that it takes to
    tell the rates.
    """
    if interval < _SHORTEST:
        raise click.UsageError(f"--interval is at least {_SHORTEST.total_seconds()} s")
    terminal = console()
    manager = settings.job_manager
    with suppress(KeyboardInterrupt):
        meter = Meter()
        if once or not is_terminal(terminal):
            read_frame(manager, meter, stalled)
            time.sleep(interval.total_seconds())
            terminal.print(read_frame(manager, meter, stalled).render(terminal.width))
        else:
            _live(terminal, manager, meter, interval, stalled)


def _live(
    terminal: Console, manager: JobManager, meter: Meter, interval: timedelta, stalled: timedelta
) -> None:
    began = time.monotonic()
    frame = read_frame(manager, meter, stalled).render(terminal.width)
    with Live(frame, console=terminal, screen=True, auto_refresh=False) as live:
        while True:
            # Where millions wait it takes a while to count them: not all of the server's time.
            took = time.monotonic() - began
            time.sleep(max(interval.total_seconds(), _IDLE * took))
            began = time.monotonic()
            try:
                frame = read_frame(manager, meter, stalled).render(terminal.width)
                live.update(frame, refresh=True)
            except DatabaseUnavailable as error:
                # It may be back soon, which this shows then.
                live.update(Group(Text(escaped(str(error)), "red"), frame), refresh=True)
