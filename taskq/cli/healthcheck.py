"""``taskq healthcheck``: whether a deployment can work at all."""

from datetime import timedelta

import click

from taskq.cli.command import command, number_option
from taskq.cli.settings import Settings
from taskq.cli.workers import is_alive, stalled_option
from taskq.messages import counted

_EPILOG = "Exit codes: 0 all is well, 1 something is not, 2 the command line or the app is wrong."


@command(epilog=_EPILOG, example="healthcheck --app shop.jobs:app --workers 1")
@number_option("--workers", "N", 0, "How many workers have to be alive.", at_least=0)
@stalled_option
def healthcheck(settings: Settings, /, *, workers: int, stalled: timedelta) -> None:
    """Check that the app can be imported, the database answers and has the schema, and workers are alive.

    For deployments and probes: the first thing that is wrong is one line on stderr, and ends it.
    """
    if (tasks := settings.tasks()) is not None:
        click.echo(f"app: {counted(len(set(tasks.values())), 'task')}")
    manager = settings.job_manager
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
