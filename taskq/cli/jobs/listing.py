"""``taskq jobs list``."""

from datetime import datetime
from itertools import islice
from typing import Any

import click

from taskq.cli.command import command, number_option
from taskq.cli.jobs.choosing import (
    choosing_options,
    each_job,
    filters_of,
    refuse_unknown,
    said_of,
)
from taskq.cli.listing import Column, json_text, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.job import Job, JobStatus

STYLES = {
    JobStatus.TODO: "",
    JobStatus.DOING: "cyan",
    JobStatus.SUCCEEDED: "green",
    JobStatus.FAILED: "red",
    JobStatus.CANCELLED: "dim",
    JobStatus.ABORTED: "magenta",
}


def _at(job: Job) -> datetime | None:
    match job.status:
        case JobStatus.TODO:
            return job.scheduled_at or job.deferred_at
        case JobStatus.DOING:
            return job.started_at
        case _:
            return job.finished_at


_COLUMNS: list[Column[Job]] = [
    Column("id", lambda job: str(job.id), is_cut=False),
    Column("status", lambda job: job.status.value, lambda job: STYLES[job.status], is_cut=False),
    Column("task", lambda job: job.task_name),
    Column("arguments", lambda job: json_text(job.task_kwargs)),
    Column("queue", lambda job: job.queue),
    Column("lock", lambda job: job.lock),
    Column("limit", lambda job: job.limit_key),
    Column("attempt", lambda job: job.attempt),
    Column("progress", lambda job: None if job.progress is None else str(job.progress)),
    Column("at", _at),
]


@command("list", example="jobs list --status failed --finished-after 1h --json", json=True)
@choosing_options
@click.option(
    "--id", metavar="ID", type=int, multiple=True, help="With this id, or one of several."
)
@number_option("--limit", "N", 50, "How many at most.")
@click.option("--after", metavar="ID", type=int, help="Those after this one; to go on.")
@click.option("--newest-first", is_flag=True, help="The other way round: from the last deferred.")
def list_jobs(
    settings: Settings,
    /,
    *,
    limit: int,
    after: int | None,
    newest_first: bool,
    json: bool,
    **given: Any,
) -> None:
    """List the jobs that fit all that is said, in the order they were deferred in.

    The last column is when a job ended, started, is scheduled for or was deferred, by its status.
    """
    given["ids"] = given.pop("id")
    manager = settings.job_manager
    filters = filters_of(manager, said_of(given))
    # With one more it is known whether there are more.
    jobs = each_job(manager, filters, after=after, newest_first=newest_first, at_once=limit + 1)
    page = list(islice(jobs, limit))
    if not page:
        refuse_unknown(settings, filters)
    has_more = len(page) == limit and next(jobs, None) is not None
    now = server_now(manager.database)
    # Only where there is any.
    wanted = {
        "limit": any(job.limit_key is not None for job in page),
        "progress": any(job.progress is not None for job in page),
    }
    columns = [column for column in _COLUMNS if wanted.get(column.heading, True)]
    print_listing(page, columns, as_json=json, nothing="no job fits", now=now)
    if has_more:
        click.echo(f"more: --after {page[-1].id}", err=True)
