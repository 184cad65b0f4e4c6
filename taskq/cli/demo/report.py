"""The demo's report: what the database says of a run."""

import json
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from taskq.cli.demo.run import Run
from taskq.cli.demo.tasks import Summary, app, fold, measure
from taskq.embedded import FOLDER_VARIABLE
from taskq.escaping import escaped
from taskq.job import Job, JobStatus

APP_PATH = "taskq.cli.demo.tasks:app"

_PAGE = 1000  # jobs read at once
_SHOWN = 10  # failures
_SAMPLE = 3  # files


def report(run: Run) -> None:
    """Print what came of a run."""
    jobs = _read(run.jobs)
    measured = [job for job in jobs if job.task_name == measure.name]
    _print_summaries(run, {job.id: job for job in jobs if job.task_name == fold.name})
    succeeded = [job for job in measured if job.status is JobStatus.SUCCEEDED]
    _print_sample(succeeded)
    _print_failures([job for job in jobs if job.status is JobStatus.FAILED])
    _print_refused(run.refused)
    _print_rate(jobs)
    if measured:
        _print_by_hand((succeeded or measured)[0])


def _read(ids: Sequence[int]) -> list[Job]:
    pages = range(0, len(ids), _PAGE)
    return [job for at in pages for job in app.job_manager.list_jobs(ids=ids[at : at + _PAGE])]


def _print_summaries(run: Run, folds: dict[int, Job]) -> None:
    last = {file_type: folds[ids[-1]] for file_type, ids in run.folded.items()}
    summaries = {
        file_type: fold.result(job)
        for file_type, job in last.items()
        if job.status is JobStatus.SUCCEEDED
    }
    table = Table(show_footer=True)
    total = sum(summaries.values(), Summary())
    table.add_column("file type", "all", overflow="fold")
    for name, count in (("files", total.files), ("bytes", total.size), ("lines", total.lines)):
        table.add_column(name, f"{count:,}", justify="right")
    for file_type, summary in sorted(summaries.items(), key=lambda item: (-item[1].files, item[0])):
        counts = (summary.files, summary.size, summary.lines)
        table.add_row(Text(escaped(file_type) or "(none)"), *(f"{count:,}" for count in counts))
    Console().print(table)


def _print_sample(succeeded: Sequence[Job]) -> None:
    if succeeded:
        click.echo("To compare, run what is below a result:")
    for job in succeeded[:: max(1, len(succeeded) // _SAMPLE)][:_SAMPLE]:
        result = measure.result(job)
        click.echo(f"  # {result.sha256}, {result.lines} lines, {result.size} bytes")
        path = _word(str(job.task_kwargs["path"]))
        click.echo(f"  sha256sum {path}; wc -l -c {path}")


def _word(text: str) -> str:
    """The text as a word for bash, in which nothing steers the terminal that it is pasted from."""
    if text.isprintable():
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{escaped(quoted)}'"


def _print_failures(failed: Sequence[Job]) -> None:
    for job in failed[:_SHOWN]:
        attempts = app.job_manager.list_failed_attempts(job.id)
        why = f"{attempts[-1].error_type}: {attempts[-1].error_message}" if attempts else "?"
        click.echo(f"Job {job.id} failed: {_of(job)}: {escaped(why)}")
    if more := failed[_SHOWN:]:
        click.echo(f"… and {len(more):,} more jobs failed.")


def _print_refused(refused: Sequence[tuple[Path, str]]) -> None:
    for path, why in refused[:_SHOWN]:
        click.echo(f"Not deferred: {escaped(str(path))}: {escaped(why)}")
    if more := refused[_SHOWN:]:
        click.echo(f"… and {len(more):,} more files were not deferred.")


def _print_rate(jobs: Sequence[Job]) -> None:
    counts = Counter(job.status for job in jobs)
    began = [job.started_at for job in jobs if job.started_at is not None]
    ended = [job.finished_at for job in jobs if job.finished_at is not None]
    seconds = (max(ended) - min(began)).total_seconds() if began and ended else 0.0
    rate = f", in {seconds:.1f} s: {len(jobs) / seconds:,.0f} jobs per second" if seconds else ""
    succeeded, failed = counts[JobStatus.SUCCEEDED], counts[JobStatus.FAILED]
    click.echo(f"{succeeded:,} jobs succeeded, {failed:,} failed{rate}.")


def _print_by_hand(job: Job) -> None:
    arguments = _word(json.dumps(job.task_kwargs))
    command = "  python -m taskq"
    click.echo("To look at what came of it, where the jobs stay:")
    if folder := os.environ.get(FOLDER_VARIABLE):
        click.echo(f"  export {FOLDER_VARIABLE}={shlex.quote(folder)}")
    click.echo(f"{command} queues list --app {APP_PATH}")
    click.echo(f"{command} jobs list --app {APP_PATH} --newest-first --limit 10")
    click.echo(f"{command} jobs show {job.id} --app {APP_PATH}")
    click.echo("To do it by hand, defer a job in one terminal:")
    click.echo(f"{command} defer --app {APP_PATH} {job.task_name} {arguments}")
    click.echo("and run a worker in another, until Ctrl-C ends it:")
    click.echo(f"{command} worker --app {APP_PATH}")


def _of(job: Job) -> str:
    return escaped(str(job.task_kwargs.get("path", job.lock)))
