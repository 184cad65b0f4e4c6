"""``taskq defer``: a job of one task."""

import json
from typing import Any, NoReturn

import click

from taskq.cli.command import command
from taskq.cli.completion import queue_names, task_names
from taskq.cli.settings import Settings
from taskq.cli.times import read_duration, read_time
from taskq.exceptions import TaskNotFound

# What an option is called where jobs are configured.
_NAMES = {"at": "schedule_at", "in": "schedule_in"}


def read_arguments(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, Any] | None:
    """Read arguments, a JSON object; for a ``callback``."""
    if value is None:
        return None
    try:
        given = json.loads(value, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        # Not what was given: the task may be one that encrypts it.
        raise click.BadParameter(f"what is given is not JSON: {error}") from None
    if not isinstance(given, dict):
        raise click.BadParameter(
            f"what is given is not a JSON object, but a {type(given).__name__}: give the arguments by "
            "name, as in "
            """'{"user_id": 1}'"""
        )
    return given


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no {constant}")


@command(
    example="""defer --app shop.jobs:app shop.jobs.send_mail '{"user_id": 1}' --in 5m""",
    database=False,
)
@click.argument("task", shell_complete=task_names)
@click.argument("arguments", metavar="[JSON]", callback=read_arguments, default="{}")
@click.option(
    "--queue",
    metavar="NAME",
    shell_complete=queue_names,
    help="The queue, instead of the task's.",
)
@click.option("--lock", metavar="NAME", help="Jobs with the same lock run one at a time, in order.")
@click.option(
    "--queueing-lock",
    metavar="NAME",
    help="No two jobs with the same one wait in the queue at once.",
)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="While a job with the same one is kept, in whatever status, print its id and defer none.",
)
@click.option(
    "--limit-key",
    metavar="KEY",
    help="The key by which it has a room of its own in the task's limit, instead of the arguments.",
)
@click.option("--priority", metavar="N", type=int, help="Higher first.")
@click.option(
    "--at",
    metavar="TIME",
    callback=read_time,
    help="When it may start, with an offset from UTC, as in 2030-01-31T18:00:00+01:00.",
)
@click.option(
    "--in",
    metavar="DURATION",
    callback=read_duration,
    help="In how long it may start: seconds, or with units as in 1h30m.",
)
@click.option(
    "--expire-at",
    metavar="TIME",
    callback=read_time,
    help="By when it is to begin, or it ends as cancelled; with an offset from UTC.",
)
@click.option(
    "--expire-in",
    metavar="DURATION",
    callback=read_duration,
    help="In how long it is to begin at the latest: seconds, or with units as in 1h30m.",
)
@click.option(
    "--ignore-already-enqueued",
    is_flag=True,
    help="Defer nothing, and succeed, if a job with the queueing lock waits already.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="If a job with the queueing lock waits already, have it become this one.",
)
@click.option(
    "--unknown",
    is_flag=True,
    help="Take a task that this app does not have, such as one of another program.",
)
def defer(
    settings: Settings,
    /,
    *,
    task: str,
    arguments: dict[str, Any],
    unknown: bool,
    ignore_already_enqueued: bool,
    replace: bool,
    **given: Any,
) -> None:
    """Defer a job of TASK, with its arguments as a JSON object, and print the job's id."""
    options = {_NAMES.get(name, name): value for name, value in given.items() if value is not None}
    if options.keys() >= {"schedule_at", "schedule_in"}:
        raise click.UsageError("--at and --in both say when: give one of them")
    if options.keys() >= {"expire_at", "expire_in"}:
        raise click.UsageError("--expire-at and --expire-in both say until when: give one of them")
    if ignore_already_enqueued and replace:
        raise click.UsageError(
            "--ignore-already-enqueued leaves the job that waits as it is, and --replace does not: give "
            "one of them"
        )
    if ignore_already_enqueued or replace:
        options["on_conflict"] = "replace" if replace else "skip"
    with settings.app() as app:
        app.schema_manager.check()
        try:
            deferrer = app.configure_task(task, allow_unknown=unknown, **options)
        except TaskNotFound as error:
            raise TaskNotFound(f"{error}; --unknown defers it all the same") from error
        job_id: int | None = deferrer.defer(**arguments)
    if job_id is None:
        click.echo("nothing deferred: a job with its queueing lock waits already", err=True)
    else:
        click.echo(job_id)
