"""A worker on a mixed load for a long time: no job may be unaccounted for, and its memory stays flat.

    python -m benchmarks.soak [SECONDS] [URL]

Defers short, long, sync, failing, retried, snoozing, locked, scheduled, slow and aborted jobs all the
time, for 600 seconds if nothing else is said, to one worker in a process of its own; waits until it has
run them all; then compares what each kind of job became with what it must become.
"""

import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from sqlalchemy import text

from taskq import App, JobContext, JobStatus, RetryStrategy, Snooze
from taskq.database.database import URL_VARIABLE
from taskq.embedded import EmbeddedServer

app = App(os.environ.get(URL_VARIABLE, "postgresql://"))

# What each kind of job must become.
ENDS = {
    "short": JobStatus.SUCCEEDED,
    "long": JobStatus.SUCCEEDED,
    "blocking": JobStatus.SUCCEEDED,
    "failing": JobStatus.FAILED,
    "retried": JobStatus.SUCCEEDED,
    "snoozing": JobStatus.SUCCEEDED,
    "locked": JobStatus.SUCCEEDED,
    "later": JobStatus.SUCCEEDED,
    "slow": JobStatus.FAILED,
    "aborted": JobStatus.ABORTED,
}


@app.task(name="short")
async def short() -> None: ...


@app.task(name="long")
async def long() -> None:
    await asyncio.sleep(0.5)


@app.task(name="blocking")
def blocking() -> None:
    time.sleep(0.01)


@app.task(name="failing")
async def failing() -> None:
    raise ValueError("as always")


@app.task(name="retried", retry=RetryStrategy(max_attempts=3, wait=0.2), pass_context=True)
async def retried(context: JobContext) -> None:
    if context.job.attempts < 2:
        raise ConnectionError("not yet")


@app.task(name="snoozing", pass_context=True)
async def snoozing(context: JobContext) -> None:
    if context.job.claim == 1:
        raise Snooze(timedelta(seconds=0.3))


@app.task(name="locked")
async def locked() -> None:
    await asyncio.sleep(0.001)


@app.task(name="later")
async def later() -> None: ...


@app.task(name="slow", timeout=0.2)
async def slow() -> None:
    await asyncio.sleep(60)


@app.task(name="aborted")
async def aborted() -> None:
    await asyncio.sleep(600)


def produce(seconds: float, sample: "Memory") -> Counter[str]:
    """Defer jobs of all kinds for so long; returns how many of each."""
    deferred: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        lock = f"lock-{random.randrange(5)}"
        deferred.update(
            {
                "short": len(short.batch_defer(*[{}] * 50)),
                "long": len(long.batch_defer({}, {})),
                "blocking": len(blocking.batch_defer(*[{}] * 5)),
                "failing": len(failing.batch_defer({}, {})),
                "retried": len(retried.batch_defer({}, {})),
                "snoozing": len(snoozing.batch_defer({})),
                "locked": len(locked.configure(lock=lock).batch_defer(*[{}] * 10)),
                "later": len(later.configure(schedule_in={"seconds": 2}).batch_defer({}, {})),
                "slow": len(slow.batch_defer({})),
            }
        )
        if deferred["short"] % 1000 == 0:
            job_id = aborted.defer()
            deferred["aborted"] += 1
            while not app.job_manager.cancel_job_by_id(job_id, abort=True):
                time.sleep(0.01)
            # Cancelled before it ran, which is another end.
            if app.job_manager.get_job_status(job_id) is JobStatus.CANCELLED:
                deferred["aborted"] -= 1
        sample.take()
        time.sleep(0.1)
    return deferred


def count_exactly() -> dict[tuple[str, JobStatus], int]:
    """What became of the jobs, by task; the job manager estimates what has finished in a big table."""
    query = text(
        "SELECT task_name, status, count(*) FROM taskq_jobs WHERE status <> 'cancelled' GROUP BY 1, 2"
    )
    with app.database.engine.connect() as connection:
        return {(task, JobStatus(status)): jobs for task, status, jobs in connection.execute(query)}


class Memory:
    """The resident memory of a process, once per second or so."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._last = 0.0
        self.samples: list[float] = []

    def take(self) -> None:
        """Take a sample, unless the last one is too young."""
        if time.monotonic() - self._last >= 1:
            self._last = time.monotonic()
            ps = ["ps", "-o", "rss=", "-p", str(self._pid)]
            shown = subprocess.run(ps, capture_output=True, text=True, check=True).stdout
            self.samples.append(int(shown) / 1024)

    def report(self) -> bool:
        """Print how it went over the four quarters; returns whether the last is like the second."""
        quarter = max(1, len(self.samples) // 4)
        medians = [
            statistics.median(self.samples[start : start + quarter])
            for start in range(0, 4 * quarter, quarter)
            if self.samples[start : start + quarter]
        ]
        print("memory of the worker, MiB, median of each quarter:", *(f"{m:.1f}" for m in medians))
        return medians[-1] <= medians[min(1, len(medians) - 1)] * 1.05


def main() -> int:
    if sys.argv[1:2] == ["--producer"]:
        with app.open():
            return soak(float(sys.argv[2]))
    seconds = float(sys.argv[1]) if sys.argv[1:] else 600.0
    with tempfile.TemporaryDirectory(prefix="taskq-soak-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        server = None if sys.argv[2:] else EmbeddedServer(folder / "server")
        url = server.start() if server else sys.argv[2]
        try:
            # The module's app, here and in the worker's process, reads the variable when it is made.
            command = [sys.executable, "-m", "benchmarks.soak", "--producer", str(seconds)]
            return subprocess.run(
                command, env=os.environ | {URL_VARIABLE: url}, check=False
            ).returncode
        finally:
            if server:
                server.stop()


def soak(seconds: float) -> int:
    app.schema_manager.apply_schema()
    command = [sys.executable, "-m", "taskq", "--app", "benchmarks.soak:app", "worker"]
    with subprocess.Popen([*command, "--concurrency", "20"], stderr=subprocess.DEVNULL) as worker:
        memory = Memory(worker.pid)
        try:
            deferred = produce(seconds, memory)
            while app.job_manager.count_jobs(status=["todo", "doing"]):
                memory.take()
                time.sleep(0.5)
        finally:
            worker.terminate()
            worker.wait(30)
    became = count_exactly()
    expected = {(task, ENDS[task]): jobs for task, jobs in deferred.items() if jobs}
    print(
        f"{sum(deferred.values())} jobs in {seconds:.0f} s, worker's exit code {worker.returncode}"
    )
    for (task, status), jobs in sorted(became.items()):
        print(f"  {task:10} {status:10} {jobs:8}")
    accounted = became == expected
    if not accounted:
        print("not what it must be:", expected)
    flat = memory.report()
    print("every job accounted for:", accounted, "| memory flat:", flat)
    return 0 if accounted and flat else 1


if __name__ == "__main__":
    sys.exit(main())
