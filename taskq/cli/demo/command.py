"""``taskq demo``: the command."""

import logging
import os
import sysconfig
from pathlib import Path

import click

from taskq.cli import logs
from taskq.cli.command import command, number_option, set_database
from taskq.cli.settings import Settings
from taskq.database.database import URL_VARIABLE, Database


@command(
    example="demo /usr/share/doc --concurrency 20",
    app=False,
    database=False,  # its own one says another thing
)
@click.argument(
    "folder",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@number_option("--concurrency", "N", 10, "How many jobs run side by side.", at_most=1000)
@click.option(
    "--database",
    metavar="URL",
    expose_value=False,
    callback=set_database,
    help="The database; else the one that TASKQ_DATABASE_URL or libpq's variables name, or else the "
    "embedded server.",
)
def demo(settings: Settings, /, folder: Path | None, concurrency: int) -> None:
    """Put a queue to work on every file under FOLDER, by default Python's standard library.

    One job per file takes its SHA-256, its size and its number of lines; then jobs that share a lock
    per file type fold these into a summary. What is printed is read back from the database, where the
    jobs stay; the files are only read.
    """
    database = settings.database_url
    if database is not None:
        Database.resolve(database)  # refuses it by its right name
        os.environ[URL_VARIABLE] = database
    logs.set_up(verbose=settings.verbose, level=logging.WARNING)
    if not settings.verbose:
        # A job that fails is part of the report.
        logging.getLogger("taskq.worker.attempt").setLevel(logging.CRITICAL)
    # Its app is made when it is imported, as apps are: not before it is known where.
    from taskq.cli.demo.demonstration import demonstrate  # noqa: PLC0415
    from taskq.cli.demo.tasks import app  # noqa: PLC0415

    if database is not None:
        app.database.origin = settings.database_origin
    stdlib = Path(sysconfig.get_path("stdlib"))
    demonstrate((folder or stdlib).absolute(), concurrency, named=database)
