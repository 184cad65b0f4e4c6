"""``taskq jobs retry``, ``cancel``, ``abort``, ``delete`` and ``reschedule``."""

import sys
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import click

from taskq.cli.command import command
from taskq.cli.completion import queue_names
from taskq.cli.jobs.choosing import choosing_options, filters_of, refuse_unknown, said_of
from taskq.cli.settings import Settings
from taskq.cli.times import read_duration, read_time
from taskq.escaping import escaped
from taskq.exceptions import InvalidTransition, TaskqException
from taskq.job import JobStatus
from taskq.manager import JobManager
from taskq.messages import counted
from taskq.queries.filters import ALIVE, EVERY_STATUS, UNSUCCESSFUL

_INT4 = click.IntRange(-(2**31), 2**31 - 1)


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which jobs to change: their ids, or the options that choose them."""
    return click.argument("ids", metavar="[ID]...", type=int, nargs=-1)(choosing_options(command))


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


@command(
    example="jobs retry --status failed --task shop.jobs.send_mail --yes", own_options_first=True
)
@_which
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
def retry(
    settings: Settings,
    /,
    *,
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
    if not given["ids"] and (priority is not None or into is not None):
        raise click.UsageError("--priority and --into are for jobs that are named by their ids")
    _change(
        settings,
        given,
        do="retry",
        done="retried",
        statuses=UNSUCCESSFUL,
        one=partial(
            JobManager.retry_job_by_id,
            retry_at=at,
            retry_in=retry_in,
            priority=priority,
            queue=into,
        ),
        many=partial(JobManager.retry_jobs, retry_at=at, retry_in=retry_in),
    )


@command(example="jobs cancel --queue mail --deferred-before 1d --yes", own_options_first=True)
@_which
@_yes
def cancel(settings: Settings, /, **given: Any) -> None:
    """Cancel jobs that wait: those with the IDs, or all that fit the options, which ask first."""
    _change(
        settings,
        given,
        do="cancel",
        done="cancelled",
        statuses={JobStatus.TODO},
        one=_cancel,
        many=JobManager.cancel_jobs,
    )


@command(example="jobs abort 1234 1235", own_options_first=True)
@_which
@_yes
def abort(settings: Settings, /, **given: Any) -> None:
    """Cancel jobs that wait, and ask the workers of those that run to abort them.

    Those with the IDs, or all that fit the options, which ask first. An async task is cancelled; a sync
    task has to look for itself whether it should abort.
    """
    _change(
        settings,
        given,
        do="abort",
        done="cancelled or asked to abort",
        statuses=ALIVE,
        one=partial(_cancel, abort=True),
        many=partial(JobManager.cancel_jobs, abort=True),
    )


@command(
    example="jobs delete --status succeeded --finished-before 7d --yes", own_options_first=True
)
@_which
@_yes
def delete(settings: Settings, /, **given: Any) -> None:
    """Delete jobs that do not run, with all that is kept of them.

    Those with the IDs, or all that fit the options, which ask first.
    """
    _change(
        settings,
        given,
        do="delete",
        done="deleted",
        statuses=EVERY_STATUS - {JobStatus.DOING},
        one=_delete,
        many=JobManager.delete_jobs,
    )


@command(example="jobs reschedule 1234 --in 2h", own_options_first=True)
@click.argument("ids", metavar="ID...", type=int, nargs=-1, required=True)
@_at
@_in
@_priority
@click.option(
    "--queue", metavar="NAME", shell_complete=queue_names, help="The queue that it goes to."
)
def reschedule(
    settings: Settings,
    /,
    *,
    ids: Sequence[int],
    at: datetime | None,
    priority: int | None,
    queue: str | None,
    **given: Any,
) -> None:
    """Give jobs that wait another time, priority or queue."""
    schedule_in: timedelta | None = given.pop("in")
    _refuse_both(at, schedule_in)
    change = partial(
        settings.job_manager.reschedule_job,
        schedule_at=at,
        schedule_in=schedule_in,
        priority=priority,
        queue=queue,
    )
    _one_by_one(change, ids, done="rescheduled")


def _change(
    settings: Settings,
    given: dict[str, Any],
    *,
    do: str,
    done: str,
    statuses: Collection[JobStatus],
    one: Callable[[JobManager, int], object],
    many: Callable[..., int],
) -> None:
    """Change the jobs that a command line means.

    Args:
        settings: The settings.
        given: The ids, the options that choose jobs, and ``--yes``.
        do: The command's name.
        done: What became of the jobs.
        statuses: Those of the jobs that it can change.
        one: Changes the job with an id.
        many: Changes the jobs that fit the filters, which are its keywords; returns how many.
    """
    ids, yes = given.pop("ids"), given.pop("yes")
    said = said_of(given)
    if ids and said:
        raise click.UsageError("the jobs are named by their ids and by options: say one of the two")
    if not ids and not said:
        raise click.UsageError(
            f"which jobs? Name their ids, as in jobs {do} 17 18, or say what they have in common, as "
            f"in jobs {do} --queue mail"
        )
    manager = settings.job_manager
    if ids:
        _one_by_one(partial(one, manager), ids, done=done)
        return
    filters = filters_of(manager, said)
    if not yes:
        _confirm(manager, filters, statuses, do=do)
    changed = many(manager, **filters)
    if not changed:
        refuse_unknown(settings, filters)
    click.echo(f"{done} {counted(changed, 'job')}")


def _one_by_one(change: Callable[[int], object], ids: Sequence[int], *, done: str) -> None:
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


def _cancel(manager: JobManager, job_id: int, *, abort: bool = False) -> None:
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
