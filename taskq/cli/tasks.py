"""``taskq tasks``: what an app knows how to run."""

import inspect
from collections.abc import Mapping
from types import NoneType
from typing import Any

import click

from taskq.arguments.signature import Signature
from taskq.cli.command import Group
from taskq.cli.listing import Column, json_text, print_listing
from taskq.cli.settings import Settings
from taskq.exceptions import InvalidSignature
from taskq.task import Task

_Task = Task[..., Any]


@click.group(cls=Group)
def tasks() -> None:
    """Show the tasks of the app."""


@tasks.command("list", example="tasks list --app shop.jobs:app --schema", database=False, json=True)
@click.option("--schema", is_flag=True, help="Show the JSON Schema of each task's arguments too.")
def list_tasks(settings: Settings, /, schema: bool, json: bool) -> None:
    """List the tasks of the app: their arguments, and the queue that their jobs go to.

    With --json also the JSON Schema of the arguments, and what else a task says of its jobs.
    """
    app = settings.app()
    app.perform_import_paths()
    columns: list[Column[_Task]] = [
        Column("task", lambda task: task.name),
        Column("arguments", _signature),
        Column("queue", lambda task: task.queue),
        Column("aliases", lambda task: ", ".join(task.aliases)),
    ]
    if schema:
        columns.append(Column("JSON Schema", lambda task: json_text(task.arguments.json_schema())))
    print_listing(
        sorted(set(app.tasks.values()), key=lambda task: task.name),
        columns,
        record=_record,
        as_json=json,
        nothing="the app has no tasks: declare one with @app.task, or name its module in import_paths",
    )


def _signature(task: _Task) -> str:
    signature = Signature(task.func, task_name=task.name)
    skipped = 1 if task.pass_context else 0
    parameters = [
        parameter.replace(annotation=_type(signature, parameter.annotation))
        for parameter in signature.parameters[skipped:]
    ]
    returned = _type(signature, inspect.signature(task.func).return_annotation)
    return str(inspect.Signature(parameters, return_annotation=returned))


def _type(signature: Signature, annotation: Any) -> Any:
    """What an annotation says, and not its text, as `from __future__ import annotations` makes of it."""
    if annotation is inspect.Signature.empty:
        return annotation
    try:
        resolved = signature.resolved(annotation)
        return None if resolved is NoneType else resolved
    except InvalidSignature:
        # Of something else than an argument: what is only there for type checkers.
        return _Text(annotation) if isinstance(annotation, str) else annotation


class _Text(str):
    """The text of an annotation, which a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _record(task: _Task) -> Mapping[str, Any]:
    return {
        "name": task.name,
        "aliases": task.aliases,
        "signature": _signature(task),
        "arguments": task.arguments.json_schema(),
        "queue": task.queue,
        "priority": task.priority,
        "lock": task.lock,
        "queueing_lock": task.queueing_lock,
        "metadata": task.metadata,
        "tags": task.tags,
        "timeout": task.timeout,
        "is_async": task.is_async,
        "store_result": task.store_result,
    }
