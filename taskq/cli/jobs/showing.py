"""``taskq jobs show``."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import click
from rich.table import Table
from rich.text import Text

from taskq.cli.command import command
from taskq.cli.jobs.listing import STYLES
from taskq.cli.listing import Cell, console, json_of, json_text, shown
from taskq.cli.settings import Settings
from taskq.escaping import escaped
from taskq.job import FailedAttempt, Job
from taskq.manager import Explanation, WaitReason
from taskq.times import brief


@command(example="jobs show 1234 --json", json=True)
@click.argument("job_id", metavar="ID", type=int)
def show(settings: Settings, /, *, job_id: int, json: bool) -> None:
    """Show all that is known of a job, why it does not run, and why its attempts failed."""
    job = settings.job_manager.get_job(job_id)
    explanation = settings.job_manager.explain_job(job_id)
    attempts = settings.job_manager.list_failed_attempts(job_id)
    if json:
        click.echo(
            json_of({**asdict(job), "explanation": explanation, "failed_attempts": attempts})
        )
    else:
        _print(job, explanation, attempts)


def _print(job: Job, explanation: Explanation, attempts: Sequence[FailedAttempt]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, cell in _facts(job, explanation).items():
        if cell is not None:
            style = STYLES[job.status] if name == "status" else ""
            # No digits grouped in what is an id as often as a number.
            text = str(cell) if isinstance(cell, int) else shown(cell)
            table.add_row(name, Text(text, style))
    terminal = console()
    terminal.print(table)
    for attempt in attempts:
        after = "" if attempt.seconds is None else f", after {brief(attempt.seconds)}"
        terminal.print(
            Text(
                f"\nattempt {attempt.attempt} failed at {shown(attempt.failed_at)} in worker "
                f"{attempt.worker_id}{after}: {escaped(attempt.error_type)}: "
                f"{escaped(attempt.error_message)}",
                "red",
            ),
            soft_wrap=True,
        )
        for line in attempt.error_traceback.splitlines():
            terminal.print(Text(f"  {escaped(line)}", "dim"), soft_wrap=True)


def _facts(job: Job, explanation: Explanation) -> dict[str, Cell | datetime]:
    return {
        "id": job.id,
        "status": job.status.value,
        "which means": (
            explanation.text
            if explanation.reason is not WaitReason.FINISHED or job.expired
            else None
        ),
        "task": job.task_name,
        "arguments": json_text(job.task_kwargs),
        "progress": None if job.progress is None else str(job.progress),
        "result": None if job.result is None else json_text(job.result),
        "queue": job.queue,
        "priority": job.priority,
        "lock": job.lock,
        "queueing lock": job.queueing_lock,
        "idempotency key": job.idempotency_key,
        "limit": job.limit_key,
        "tags": ", ".join(job.tags) or None,
        "metadata": None if job.metadata is None else json_text(job.metadata),
        "deferred at": job.deferred_at,
        "scheduled at": job.scheduled_at,
        "expires at": job.expires_at,
        "started at": job.started_at,
        "finished at": job.finished_at,
        "attempt": job.attempt,
        "crashes": job.crashes or None,
        "given back": job.given_back or None,
        "worker": job.worker_id,
        "abort requested": "yes" if job.abort_requested else None,
    }
