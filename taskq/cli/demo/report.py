"""The demo's report: what the database says of a run."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from taskq.cli.demo.hints import print_hints
from taskq.cli.demo.printing import command, paper, say, word
from taskq.cli.demo.run import Run
from taskq.cli.demo.tasks import Summary, app, fold, measure
from taskq.escaping import escaped
from taskq.job import Job, JobStatus
from taskq.messages import counted

_PAGE = 1000  # jobs read at once
_SHOWN = 10  # failures
_SAMPLE = 3  # files


def report(run: Run, *, named: str | None) -> None:
    """Print what came of a run, on the database that the command line named, if it did."""
    jobs = _read(run.jobs)
    measured = [job for job in jobs if job.task_name == measure.name]
    _print_summaries(run, {job.id: job for job in jobs if job.task_name == fold.name})
    succeeded = [job for job in measured if job.status is JobStatus.SUCCEEDED]
    _print_sample(succeeded)
    _print_failures([job for job in jobs if job.status is JobStatus.FAILED])
    _print_refused(run.refused)
    _print_rate(jobs)
    if measured:
        print_hints((succeeded or measured)[0], named=named)


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
        table.add_column(name, f"{count:,}", justify="right", no_wrap=True)
    for file_type, summary in sorted(summaries.items(), key=lambda item: (-item[1].files, item[0])):
        counts = (summary.files, summary.size, summary.lines)
        table.add_row(Text(escaped(file_type) or "(none)"), *(f"{count:,}" for count in counts))
    paper().print(table)


def _print_sample(succeeded: Sequence[Job]) -> None:
    if succeeded:
        say("To compare with what the jobs say, which stands below each command:")
    for job in succeeded[:: max(1, len(succeeded) // _SAMPLE)][:_SAMPLE]:
        result = measure.result(job)
        path = word(str(job.task_kwargs["path"]))
        command(f"sha256sum {path}")
        command(f"# {result.sha256}")
        command(f"wc -l -c {path}")
        command(f"# {counted(result.lines, 'line')}, {counted(result.size, 'byte')}")


def _print_failures(failed: Sequence[Job]) -> None:
    for job in failed[:_SHOWN]:
        attempts = app.job_manager.list_failed_attempts(job.id)
        why = f"{attempts[-1].error_type}: {attempts[-1].error_message}" if attempts else "?"
        # An error of the system's names the file again, in quotes.
        path = str(job.task_kwargs.get("path", job.lock))
        say(f"Job {job.id} failed: {path}: {why.removesuffix(f': {path!r}')}")
    if more := len(failed[_SHOWN:]):
        say(f"… and {counted(more, 'more job')} failed.")


def _print_refused(refused: Sequence[tuple[Path, str]]) -> None:
    for path, why in refused[:_SHOWN]:
        say(f"Not deferred: {path}: {why}")
    if more := len(refused[_SHOWN:]):
        say(f"… and {counted(more, 'more file')} not deferred.")


def _print_rate(jobs: Sequence[Job]) -> None:
    counts = Counter(job.status for job in jobs)
    began = [job.started_at for job in jobs if job.started_at is not None]
    ended = [job.finished_at for job in jobs if job.finished_at is not None]
    seconds = (max(ended) - min(began)).total_seconds() if began and ended else 0.0
    per_second = counted(round(len(jobs) / seconds), "job") if seconds else ""
    rate = f", in {seconds:.1f} s: {per_second} per second" if seconds else ""
    succeeded, failed = counts[JobStatus.SUCCEEDED], counts[JobStatus.FAILED]
    say(f"{counted(succeeded, 'job')} succeeded, {failed:,} failed{rate}.")
