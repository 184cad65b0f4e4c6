"""What a shell can complete: the names that the app knows."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from taskq.cli.settings import Settings
from taskq.task import Task


def task_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The tasks of the app and their aliases; for an option's or argument's ``shell_complete``."""
    return _matching(_tasks(context), incomplete)


def queue_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The queues of the app's tasks. Those of the database would cost a connection."""
    return _matching({task.queue for task in _tasks(context).values()}, incomplete)


def limit_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The limits of the app's tasks and queues."""
    _tasks(context)  # whose modules may have more of them
    settings = context.find_object(Settings)
    if settings is None or settings.app_path is None:
        return []
    try:
        return _matching((limit.name for limit in settings.app().limits), incomplete)
    except Exception:  # as below
        return []


def event_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The events that the app's tasks subscribe to."""
    _tasks(context)  # whose modules may have more of them
    settings = context.find_object(Settings)
    if settings is None or settings.app_path is None:
        return []
    try:
        return _matching({each.event for each in settings.app().subscribers}, incomplete)
    except Exception:  # as below
        return []


def _tasks(context: click.Context) -> Mapping[str, Task[..., Any]]:
    settings = context.find_object(Settings)
    try:
        return (settings and settings.tasks()) or {}
    except Exception:  # whatever is wrong with the app, the command itself will say
        return {}


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted(name for name in names if name.startswith(incomplete))
