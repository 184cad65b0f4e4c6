"""What a shell can complete: the names that the app knows."""

from collections.abc import Collection

import click

from taskq.app import App
from taskq.cli.settings import Settings


def task_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> Collection[str]:
    """The tasks of the app and their aliases; for an option's or argument's ``shell_complete``."""
    app = _app(context)
    return [] if app is None else sorted(_matching(app.tasks, incomplete))


def queue_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> Collection[str]:
    """The queues of the app's tasks. Those of the database would cost a connection."""
    app = _app(context)
    queues = set() if app is None else {task.queue for task in app.tasks.values()}
    return sorted(_matching(queues, incomplete))


def _app(context: click.Context) -> App | None:
    settings = context.find_object(Settings)
    if settings is None or settings.app_path is None:
        return None
    try:
        app = settings.app()
        app.perform_import_paths()
    except Exception:  # whatever is wrong with it, the command itself will say
        return None
    return app


def _matching(names: Collection[str], incomplete: str) -> set[str]:
    return {name for name in names if name.startswith(incomplete)}
