"""``taskq jobs retry``, ``cancel``, ``abort``, ``delete`` and ``reschedule``."""

import sys
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import click

from taskq.cli.command import Command
from taskq.cli.completion import queue_names
from taskq.cli.jobs.choosing import choosing_options, filters_of, refuse_unknown, said_of
from taskq.cli.settings import (
    Settings,
    app_option,
    database_option,
    pass_settings,
    verbose_option,
)
from taskq.cli.times import read_duration, read_time
from taskq.counted import counted
from taskq.escaping import escaped
from taskq.exceptions import InvalidTransition, TaskqException
from taskq.job import JobStatus
from taskq.manager import JobManager
from taskq.queries.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL

_INT4 = click.IntRange(-(2**31), 2**31 - 1)

_ids = click.argument("ids", metavar="[ID]...", type=int, nargs=-1)

_yes = click.option(
    "--yes",
    is_flag=True,
    help="Do not ask before many jobs are changed; where nobody could answer.",
)

_at = click.option(
    "--at",
    metavar="TIME",
    callback=read_time,
    help="When it may start, with an offset from UTC.",
)

_in = click.option(
    "--in",
    metavar="DURATION",
    callback=read_duration,
    help="In how long it may start: seconds, or with units as in 1h30m; 0 is at once.",
)

_priority = click.option("--priority", metavar="N", type=_INT4, help="Its priority from now on.")


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (pass_settings, verbose_option, database_option, app_option()):
        command = option(command)
    return command


@click.command(cls=Command, example="jobs retry --status failed --task shop.jobs.send_mail --yes")
@_ids
@choosing_options
@_at
@_in
@_priority
@click.option(
    "--into",
    metavar="QUEUE",
    shell_complete=queue_names,
    help="The queue that it goes to, instead of its own.",
)
@_yes
@_shared
def retry(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    database: str | None,
    yes: bool,
    at: datetime | None,
    priority: int | None,
    into: str | None,
    **given: Any,
) -> None:
    """Put jobs that failed, were cancelled or were aborted back into their queue, to start at once.

    Those with the IDs, or all that fit the options, which ask first. --priority and --into are for IDs.
    """
    retry_in: timedelta | None = given.pop("in")
    _refuse_both(at, retry_in)
    if not ids and (priority is not None or into is not None):
        raise click.UsageError("--priority and --into are for jobs that are named by their ids")
    _change(
        settings,
        database,
        ids,
        given,
        yes=yes,
        words=("retry", "retried"),
        statuses=UNSUCCESSFUL,
        one=lambda manager, job_id: manager.retry_job_by_id(
            job_id, retry_at=at, retry_in=retry_in, priority=priority, queue=into
        ),
        many=lambda manager, filters: manager.retry_jobs(retry_at=at, retry_in=retry_in, **filters),
    )


@click.command(cls=Command, example="jobs cancel --queue mail --deferred-before 1d --yes")
@_ids
@choosing_options
@_yes
@_shared
def cancel(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    database: str | None,
    yes: bool,
    **given: Any,
) -> None:
    """Cancel jobs that wait: those with the IDs, or all that fit the options, which ask first."""
    _change(
        settings,
        database,
        ids,
        given,
        yes=yes,
        words=("cancel", "cancelled"),
        statuses={JobStatus.TODO},
        one=partial(_cancel, abort=False),
        many=lambda manager, filters: manager.cancel_jobs(**filters),
    )


@click.command(cls=Command, example="jobs abort 1234 1235")
@_ids
@choosing_options
@_yes
@_shared
def abort(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    database: str | None,
    yes: bool,
    **given: Any,
) -> None:
    """Cancel jobs that wait, and ask the workers of those that run to abort them.

    Those with the IDs, or all that fit the options, which ask first. An async task is cancelled; a sync
    task has to look for itself whether it should abort.
    """
    _change(
        settings,
        database,
        ids,
        given,
        yes=yes,
        words=("abort", "cancelled or asked to abort"),
        statuses=ALIVE,
        one=partial(_cancel, abort=True),
        many=lambda manager, filters: manager.cancel_jobs(abort=True, **filters),
    )


@click.command(cls=Command, example="jobs delete --status succeeded --finished-before 7d --yes")
@_ids
@choosing_options
@_yes
@_shared
def delete(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    database: str | None,
    yes: bool,
    **given: Any,
) -> None:
    """Delete jobs that do not run, with all that is kept of them.

    Those with the IDs, or all that fit the options, which ask first.
    """
    _change(
        settings,
        database,
        ids,
        given,
        yes=yes,
        words=("delete", "deleted"),
        statuses=EVERY_STATUS - {JobStatus.DOING},
        one=_delete,
        many=lambda manager, filters: manager.delete_jobs(**filters),
    )


@click.command(cls=Command, example="jobs reschedule 1234 --in 2h")
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@_at
@_in
@_priority
@click.option(
    "--queue",
    metavar="NAME",
    shell_complete=queue_names,
    help="The queue that it goes to.",
)
@_shared
def reschedule(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    database: str | None,
    at: datetime | None,
    priority: int | None,
    queue: str | None,
    **given: Any,
) -> None:
    """Give jobs that wait another time, priority or queue."""
    schedule_in: timedelta | None = given.pop("in")
    _refuse_both(at, schedule_in)
    with settings.job_manager(database) as manager:
        _one_by_one(
            lambda job_id: manager.reschedule_job(
                job_id, schedule_at=at, schedule_in=schedule_in, priority=priority, queue=queue
            ),
            ids,
            done="rescheduled",
        )


def _change(
    settings: Settings,
    database: str | None,
    ids: Sequence[int],
    given: dict[str, Any],
    *,
    yes: bool,
    words: tuple[str, str],
    statuses: Collection[JobStatus],
    one: Callable[[JobManager, int], None],
    many: Callable[[JobManager, Any], int],
) -> None:
    do, done = words
    said = said_of(given)
    if ids and said:
        raise click.UsageError("the jobs are named by their ids and by options: say one of the two")
    if not ids and not said:
        raise click.UsageError(
            f"which jobs? Name their ids, as in jobs {do} 17 18, or say what they have in common, as "
            f"in jobs {do} --queue mail"
        )
    with settings.job_manager(database) as manager:
        if ids:
            _one_by_one(partial(one, manager), ids, done=done)
            return
        filters = filters_of(manager, said)
        if not yes:
            _confirm(manager, filters, statuses, do=do)
        changed = many(manager, filters)
        if not changed:
            refuse_unknown(settings, manager, filters)
        click.echo(f"{done} {counted(changed, 'job')}")


def _one_by_one(change: Callable[[int], None], ids: Sequence[int], *, done: str) -> None:
    """Change jobs, and say of each what came of it; one that cannot be changed stops no other."""
    refused = False
    for job_id in ids:
        try:
            change(job_id)
        except TaskqException as error:
            if len(ids) == 1:
                raise
            refused = True
            click.echo(f"Error: {escaped(str(error))}", err=True)
        else:
            click.echo(f"{done} job {job_id}")
    if refused:
        click.get_current_context().exit(1)


def _confirm(
    manager: JobManager, filters: Any, statuses: Collection[JobStatus], *, do: str
) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"jobs {do} would ask, and nobody can answer here: say --yes")
    counts = manager.count_jobs(**filters)
    number = sum(count.jobs for count in counts.counts if count.status in statuses)
    about = "about " if any(count.is_estimate for count in counts.counts) else ""
    if number:
        click.confirm(f"{do} {about}{counted(number, 'job')}?", abort=True)


def _cancel(manager: JobManager, job_id: int, *, abort: bool) -> None:
    if manager.cancel_job_by_id(job_id, abort=abort):
        return
    status = manager.get_job_status(job_id)
    raise InvalidTransition(
        job_id,
        status.value,
        f"only a job that waits is cancelled; jobs abort {job_id} aborts one that runs"
        if status is JobStatus.DOING
        else "it has ended already",
    )


def _delete(manager: JobManager, job_id: int) -> None:
    if manager.delete_jobs(ids=[job_id]):
        return
    status = manager.get_job_status(job_id)
    raise InvalidTransition(
        job_id, status.value, f"a job that runs is not deleted; jobs abort {job_id} comes first"
    )


def _refuse_both(at: datetime | None, wait: timedelta | None) -> None:
    if at is not None and wait is not None:
        raise click.UsageError("--at and --in both say when: give one of them")
