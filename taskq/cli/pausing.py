"""Pausing and resuming: what the commands on queues and those on tasks share."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import click

from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.escaping import escaped
from taskq.job import JobStatus
from taskq.manager import JobManager, Pause, PauseKind
from taskq.messages import counted
from taskq.times import brief

F = TypeVar("F", bound=Callable[..., Any])

_ALIVE = [JobStatus.TODO, JobStatus.DOING]


def pausing_options(command: F) -> F:
    """The options of a command that pauses something."""
    by = click.option("--by", metavar="NAME", help="Who pauses it, for others to read.")
    reason = click.option("--reason", metavar="TEXT", help="Why, for others to read.")
    return by(reason(command))


def pause_one(
    settings: Settings, kind: PauseKind, name: str, *, by: str | None, reason: str | None
) -> None:
    """Pause something, and say how many jobs that keeps; or who paused it before."""
    manager = settings.job_manager
    pause = manager.pause_queue if kind is PauseKind.QUEUE else manager.pause_task
    if pause(name, by=by, reason=reason):
        click.echo(f"{kind} {escaped(name)} is paused: {_jobs_of(manager, kind, name)}")
    else:
        present = pauses_of(manager.list_pauses(), kind).get(name)
        # Another one may just have resumed it.
        said = "" if present is None else f", {said_of(present, server_now(settings.database))}"
        click.echo(f"{kind} {escaped(name)} was paused already{escaped(said)}")


def resume_one(settings: Settings, kind: PauseKind, name: str) -> None:
    """Resume something, and say how many jobs that lets begin."""
    manager = settings.job_manager
    resume = manager.resume_queue if kind is PauseKind.QUEUE else manager.resume_task
    click.echo(
        f"{kind} {escaped(name)} is resumed: {_jobs_of(manager, kind, name)}"
        if resume(name)
        else f"{kind} {escaped(name)} was not paused"
    )


def pauses_of(pauses: Iterable[Pause], kind: PauseKind) -> dict[str, Pause]:
    """Those of one kind, by what they pause."""
    return {pause.name: pause for pause in pauses if pause.kind is kind}


def said_of(pause: Pause, now: datetime) -> str:
    """For how long something has been paused, by whom and why."""
    return f"for {brief((now - pause.paused_at).total_seconds())}{pause.note}"


def pause_record(pause: Pause) -> Mapping[str, Any]:
    """What JSON says of a pause, beside what is paused."""
    return {"paused_at": pause.paused_at, "paused_by": pause.paused_by, "reason": pause.reason}


def _jobs_of(manager: JobManager, kind: PauseKind, name: str) -> str:
    """How many jobs wait and run: few are the sign of a slip in the name."""
    alive = (
        manager.list_queues(queue=name, status=_ALIVE)
        if kind is PauseKind.QUEUE
        else manager.list_tasks(task=name, status=_ALIVE)
    )
    jobs = alive[0].jobs if alive else dict.fromkeys(JobStatus, 0)
    return f"{counted(jobs[JobStatus.TODO], 'job')} todo, {jobs[JobStatus.DOING]:,} doing"
