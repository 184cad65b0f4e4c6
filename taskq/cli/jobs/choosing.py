"""Which jobs are meant: the options that choose them, and what they choose if nothing fits."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar, cast

import click

from taskq.cli.completion import queue_names, task_names
from taskq.cli.defer import read_arguments
from taskq.cli.settings import Settings
from taskq.cli.times import read_past, server_now
from taskq.job import Job, JobStatus
from taskq.manager import JobManager
from taskq.messages import closest, short_repr
from taskq.queries.filters import JobFilters

F = TypeVar("F", bound=Callable[..., Any])

_LONGEST_PAGE = 1_000  # jobs

_WHEN = "a time with an offset from UTC, or how long ago, as in 1h30m"

_OPTIONS = (
    click.option("--queue", metavar="NAME", shell_complete=queue_names, help="In this queue."),
    click.option("--task", metavar="NAME", shell_complete=task_names, help="Of this task."),
    click.option(
        "--status",
        type=click.Choice([status.value for status in JobStatus]),
        multiple=True,
        help="With this status, or one of several.",
    ),
    click.option("--lock", metavar="NAME", help="With this lock."),
    click.option("--queueing-lock", metavar="NAME", help="With this queueing lock."),
    click.option("--limit-key", metavar="NAME[:KEY]", help="With this limit, or one key of it."),
    click.option("--worker", metavar="ID", type=int, help="Last claimed by this worker."),
    click.option(
        "--deferred-after", metavar="WHEN", callback=read_past, help=f"Deferred since: {_WHEN}."
    ),
    click.option(
        "--deferred-before", metavar="WHEN", callback=read_past, help="Deferred before that."
    ),
    click.option("--finished-after", metavar="WHEN", callback=read_past, help="Ended since."),
    click.option(
        "--finished-before", metavar="WHEN", callback=read_past, help="Ended before that."
    ),
    click.option(
        "--args",
        metavar="JSON",
        callback=read_arguments,
        help="""With these arguments among theirs, as in '{"user_id": 1}'.""",
    ),
    click.option(
        "--error", metavar="TEXT", help="An attempt of which failed with this text in its error."
    ),
    click.option(
        "--tag", metavar="TAG", multiple=True, help="With this tag, or with all of several."
    ),
)

# What an option is called by the job manager.
_NAMES = {"worker": "worker_id", "args": "task_kwargs", "tag": "tags"}


def choosing_options(command: F) -> F:
    """The options that choose jobs."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def said_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, of those options' values."""
    return {name: value for name, value in given.items() if value not in (None, ())}


def filters_of(manager: JobManager, said: Mapping[str, Any]) -> JobFilters:
    """The filters that were said.

    How long ago something was goes by the server's clock, which is asked once for all pages.
    """
    filters = {_NAMES.get(name, name): value for name, value in said.items()}
    if ages := {name: age for name, age in filters.items() if isinstance(age, timedelta)}:
        now = server_now(manager.database)
        filters.update({name: now - age for name, age in ages.items()})
    return cast("JobFilters", filters)


def each_job(
    manager: JobManager,
    filters: JobFilters,
    *,
    after: int | None = None,
    newest_first: bool = False,
    at_once: int = _LONGEST_PAGE,
) -> Iterator[Job]:
    """The jobs that fit, read in pages of so many, as they are asked for."""
    limit = min(at_once, _LONGEST_PAGE)
    while True:
        page = manager.list_jobs(after=after, limit=limit, newest_first=newest_first, **filters)
        yield from page
        if page.next_after is None:
            return
        after = page.next_after


def refuse_unknown(settings: Settings, filters: JobFilters) -> None:
    """Refuse a queue or a task that does not exist, where no job fits.

    Raises:
        UsageError: No job, no worker and not the app has it.
    """
    manager = settings.job_manager
    tasks = settings.tasks() or {}
    if (queue := filters.get("queue")) is not None:
        known = {counts.name for counts in manager.list_queues()}
        known.update(*(worker.queues or () for worker in manager.list_workers()))
        known.update(task.queue for task in tasks.values())
        if queue not in known and not _has_job(manager, {"queue": queue}):
            raise _unknown("queue", queue, known)
    if (task := filters.get("task")) is not None:
        known = {counts.name for counts in manager.list_tasks()} | tasks.keys()
        if task not in known and not _has_job(manager, {"task": task}):
            raise _unknown("task", task, known)


def _has_job(manager: JobManager, filters: JobFilters) -> bool:
    # Names of old jobs in a big table are from a sample: whether there are any, only a list says.
    return next(each_job(manager, filters, newest_first=True, at_once=1), None) is not None


def _unknown(kind: str, name: str, known: Collection[str]) -> click.UsageError:
    close = closest(name, known)
    hint = f"did you mean {short_repr(close)}?" if close else "look at what there is with "
    if not close:
        hint += "queues list" if kind == "queue" else "tasks list"
    return click.UsageError(
        f"no job has the {kind} {short_repr(name)}, and nothing else has: {hint}"
    )
