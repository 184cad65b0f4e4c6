"""What the demo does, from the files to the report."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from taskq.app import App
from taskq.cli.demo.backlog import Interrupted
from taskq.cli.demo.printing import say
from taskq.cli.demo.report import report
from taskq.cli.demo.run import Run
from taskq.cli.demo.tasks import QUEUE, app
from taskq.cli.listing import is_terminal
from taskq.cli.worker import leave_at_once
from taskq.worker import Worker


def demonstrate(folder: Path, concurrency: int, *, named: str | None) -> None:
    """Measure every file under a folder by jobs, and print what came of it.

    Args:
        folder: Where the files are.
        concurrency: How many jobs run side by side.
        named: The database, if the command line named it.
    """
    with app:
        say(
            "A job for each file takes its SHA-256, its size and its number of lines; then a job for each "
            "type of file adds them up. Files are only read."
        )
        say(f"The database: {app.database}, {app.database.origin}.", head="1. ")
        for migration in app.schema_manager.apply_schema():
            say(f"Applied {migration.name}.", head="   ")
        unread: list[OSError] = []
        files = sorted(_files(folder, unread))
        say(f"The files: {len(files):,} under {folder}.", head="2. ")
        say(
            f"The jobs: deferred into the queue {QUEUE}, and run by a worker in this process, "
            f"{concurrency} at once.",
            head="3. ",
        )
        # What the report reads must be there, whatever the environment says of other workers.
        worker = app.worker(
            name="demo",
            queues=[QUEUE],
            concurrency=concurrency,
            wait=True,
            delete_jobs="never",
            install_signal_handlers=True,
            shutdown_graceful_timeout=1.0,
        )
        try:
            with _progress() as progress:
                run = Run(files, lambda ended: progress.update(bar, completed=ended))
                bar = progress.add_task("jobs", total=run.total)
                asyncio.run(_work(run, worker))
        except Interrupted:
            click.echo("Jobs that had not started are cancelled.", err=True)
            if worker.has_left:
                app.close()
                leave_at_once()
            raise KeyboardInterrupt from None
        say("What the database says of them:", head="4. ")
        run.refused += [(Path(error.filename), str(error.strerror)) for error in unread]
        report(run, named=named)


async def _work(run: Run, worker: Worker[App]) -> None:
    try:
        await run.work(worker)
    finally:
        await app.database.dispose_async()


def _files(folder: Path, unread: list[OSError]) -> Iterator[Path]:
    for below, _, names in os.walk(folder, onerror=unread.append):
        for name in names:
            yield Path(below, name)


def _progress() -> Progress:
    # On stderr, so that the report alone goes where stdout goes.
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not is_terminal(console),
    )
