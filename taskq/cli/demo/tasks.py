"""The demo's app: measure a file, and fold what was measured into a summary per file type."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from taskq import App, JobAborted, JobContext, JobStatus
from taskq.database.database import Database

QUEUE = "demo"

_CHUNK = 1 << 20  # bytes

# Its own queue alone: a database with other programs' jobs in it may be used.
app: App = App(worker_defaults={"queues": [QUEUE], "concurrency": 10})
# An embedded database of its own too, whatever project it is tried in.
app.move(Database.resolve(embedded_name="demo"))


@dataclass(frozen=True)
class Measured:
    """What a file has in it.

    Attributes:
        size: In bytes.
        lines: How many line ends it has, as ``wc -l`` counts them.
        sha256: In hexadecimal, as ``sha256sum`` prints it.
    """

    size: int
    lines: int
    sha256: str


@dataclass(frozen=True)
class Summary:
    """What the files of one type have in them, together."""

    files: int = 0
    size: int = 0
    lines: int = 0

    def __add__(self, other: "Summary") -> "Summary":
        return Summary(self.files + other.files, self.size + other.size, self.lines + other.lines)


@app.task(name="demo.measure", queue=QUEUE, pass_context=True, store_result=True)
def measure(context: JobContext, path: Path) -> Measured:
    """Read a file. It is a sync task, so it runs in a thread."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is not a regular file, and reading it might never end")
    size = lines = 0
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            if context.should_abort():
                raise JobAborted("the worker stops")
            size += len(chunk)
            lines += chunk.count(b"\n")
            digest.update(chunk)
    return Measured(size, lines, digest.hexdigest())


@app.task(name="demo.fold", queue=QUEUE, store_result=True)
async def fold(measured: list[int], after: int | None = None) -> Summary:
    """Add what jobs have measured to the summary of an earlier fold. It is an async task.

    The folds of a file type share a lock, so that the earlier one has ended when this one starts.
    """
    summary = Summary()
    if after is not None:
        summary = fold.result(await app.job_manager.get_job_async(after))
    for job in await app.job_manager.list_jobs_async(ids=measured):
        if job.status is JobStatus.SUCCEEDED:
            result = measure.result(job)
            summary += Summary(1, result.size, result.lines)
    return summary
