"""``taskq tasks``: what an app knows how to run, and which of it is paused."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from taskq.cli.command import Group
from taskq.cli.completion import task_names
from taskq.cli.jobs.choosing import refuse_unknown
from taskq.cli.listing import Column, json_text, print_listing
from taskq.cli.pausing import (
    pause_one,
    pause_record,
    pauses_of,
    pausing_options,
    resume_one,
    said_of,
)
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.escaping import escaped
from taskq.exceptions import TaskqException
from taskq.manager import Pause, PauseKind
from taskq.task import Task

_Task = Task[..., Any]


@click.group(cls=Group)
def tasks() -> None:
    """Show the tasks of the app, pause and resume them."""


@tasks.command("list", example="tasks list --app shop.jobs:app --schema", json=True)
@click.option("--schema", is_flag=True, help="Show the JSON Schema of each task's arguments too.")
def list_tasks(settings: Settings, /, schema: bool, json: bool) -> None:
    """List the tasks of the app: their arguments, the queue that their jobs go to, and which are paused.

    With --json also the JSON Schema of the arguments, and what else a task says of its jobs.
    """
    app = settings.app()
    app.perform_import_paths()
    paused, now = _read_pauses(settings)
    columns: list[Column[_Task]] = [
        Column("task", lambda task: task.name),
        Column("arguments", lambda task: task.signature),
        Column("queue", lambda task: task.queue),
        Column("aliases", lambda task: ", ".join(task.aliases)),
    ]
    if paused and now is not None:
        columns.append(Column("paused", lambda task: _said(task, paused, now), lambda _: "yellow"))
    if schema:
        columns.append(Column("JSON Schema", lambda task: json_text(task.arguments.json_schema())))
    print_listing(
        sorted(set(app.tasks.values()), key=lambda task: task.name),
        columns,
        record=lambda task: {**_record(task), "pauses": _pause_records(task, paused)},
        as_json=json,
        nothing="the app has no tasks: declare one with @app.task, or name its module in import_paths",
    )
    if others := sorted(paused.keys() - app.tasks.keys()):
        click.echo(f"paused, and not of this app: {escaped(', '.join(others))}", err=True)


@tasks.command(example="tasks pause shop.jobs.send_mail --by ada --reason 'it sends all twice'")
@click.argument("name", metavar="NAME", shell_complete=task_names)
@pausing_options
def pause(settings: Settings, /, *, name: str, by: str | None, reason: str | None) -> None:
    """Pause a task: no job of it begins until it is resumed.

    Jobs that run finish. One that is the first of its lock holds those that follow, also of other tasks.
    With --app it is paused by its aliases, too.
    """
    for each in _names(settings, name):
        pause_one(settings, PauseKind.TASK, each, by=by, reason=reason)


@tasks.command(example="tasks resume shop.jobs.send_mail")
@click.argument("name", metavar="NAME", shell_complete=task_names)
def resume(settings: Settings, /, *, name: str) -> None:
    """Resume a task that is paused: its jobs begin at once.

    With --app it is resumed by its aliases, too.
    """
    for each in _names(settings, name):
        resume_one(settings, PauseKind.TASK, each)


def _names(settings: Settings, name: str) -> Sequence[str]:
    """The names that a task's jobs may have: of one of the app all, by whichever it is named.

    Raises:
        UsageError: No job, no pause and no task of the app has it.
    """
    if task := (settings.tasks() or {}).get(name):
        return _all_names(task)
    if name not in pauses_of(settings.job_manager.list_pauses(), PauseKind.TASK):
        refuse_unknown(settings, {"task": name})
    return [name]


def _all_names(task: _Task) -> Sequence[str]:
    return [task.name, *task.aliases]


def _read_pauses(settings: Settings) -> tuple[Mapping[str, Pause], datetime | None]:
    """Which tasks are paused, by name, and the server's time: without a database nothing is known of that."""
    try:
        paused = pauses_of(settings.job_manager.list_pauses(), PauseKind.TASK)
        return paused, server_now(settings.database) if paused else None
    except TaskqException as error:
        click.echo(f"which are paused is not known: {escaped(str(error))}", err=True)
        return {}, None


def _said(task: _Task, paused: Mapping[str, Pause], now: datetime) -> str | None:
    """For how long it is paused, by whom and why; by which of its names, if that is not all of them."""
    said = {name: said_of(paused[name], now) for name in _all_names(task) if name in paused}
    if len(said) == len(_all_names(task)) and len({*said.values()}) == 1:
        return said[task.name]
    return ", ".join(f"{name} {text}" for name, text in said.items()) or None


def _pause_records(task: _Task, paused: Mapping[str, Pause]) -> list[Mapping[str, Any]]:
    return [
        {"name": name, **pause_record(paused[name])} for name in _all_names(task) if name in paused
    ]


def _record(task: _Task) -> Mapping[str, Any]:
    return {
        "name": task.name,
        "aliases": task.aliases,
        "signature": task.signature,
        "arguments": task.arguments.json_schema(),
        "queue": task.queue,
        "priority": task.priority,
        "lock": task.lock,
        "queueing_lock": task.queueing_lock,
        "metadata": task.metadata,
        "tags": task.tags,
        "expire_in": task.expire_in,
        "timeout": task.timeout,
        "is_async": task.is_async,
        "store_result": task.store_result,
        "encrypted": task.encrypted,
    }
