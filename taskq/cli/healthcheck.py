"""``taskq healthcheck``: whether a deployment can work at all."""

from datetime import timedelta

import click

from taskq.cli.command import Command
from taskq.cli.settings import (
    Settings,
    app_option,
    database_option,
    pass_settings,
    verbose_option,
)
from taskq.cli.stalled import is_alive, stalled_option
from taskq.counted import counted

_EPILOG = "Exit codes: 0 all is well, 1 something is not, 2 the command line or the app is wrong."


@click.command(cls=Command, epilog=_EPILOG, example="healthcheck --app shop.jobs:app --workers 1")
@app_option()
@database_option
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="How many workers have to be alive.",
)
@stalled_option
@verbose_option
@pass_settings
def healthcheck(
    settings: Settings, /, *, database: str | None, workers: int, stalled: timedelta
) -> None:
    """Check that the app can be imported, the database answers and has the schema, and workers are alive.

    For deployments and probes: the first thing that is wrong is one line on stderr, and ends it.
    """
    if settings.app_path is not None:
        app = settings.app()
        app.perform_import_paths()
        click.echo(f"app: {counted(len(set(app.tasks.values())), 'task')}")
    with settings.job_manager(database) as manager:
        click.echo("database: answers")
        click.echo("schema: fits this version")
        alive = sum(is_alive(worker, stalled) for worker in manager.list_workers())
    if alive < workers:
        raise click.ClickException(
            f"{_counted(alive)} alive, and {workers} have to be: start them with "
            "python -m taskq worker, or look at their logs"
        )
    click.echo(f"workers: {alive} alive")


def _counted(workers: int) -> str:
    return "1 worker is" if workers == 1 else f"{workers:,} workers are"
