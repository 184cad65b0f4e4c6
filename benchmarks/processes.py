"""More processes: jobs per second of one, two and four, of tasks in their own, and on each event loop.

    python -m benchmarks.processes

Starts a server of its own, and prints one line for each way of running, medians of some rounds, interleaved.
Neither a part of ``python -m benchmarks`` nor of the tests: what it shows is the machine's cores.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import psycopg

from taskq import App
from taskq.database.database import URL_VARIABLE
from taskq.embedded import EmbeddedServer

app = App(os.environ.get(URL_VARIABLE, "postgresql://"))

ROUNDS = 3


@app.task(name="noop")
async def noop() -> None: ...


def compute() -> int:
    """Some milliseconds of a core."""
    return sum(number * number for number in range(100_000))


@app.task(name="in thread")
def in_thread() -> None:
    compute()


@app.task(name="in process", executor="process")
def in_process() -> None:
    compute()


# What runs, how often, and how.
WAYS: dict[str, tuple[str, int, list[str]]] = {
    "no-op, asyncio": ("noop", 20_000, ["--loop", "asyncio", "--concurrency", "100"]),
    "no-op, uvloop": ("noop", 20_000, ["--loop", "uvloop", "--concurrency", "100"]),
    "no-op, 1 process": ("noop", 20_000, ["--processes", "1", "--concurrency", "100"]),
    "no-op, 2 processes": ("noop", 20_000, ["--processes", "2", "--concurrency", "100"]),
    "no-op, 4 processes": ("noop", 20_000, ["--processes", "4", "--concurrency", "100"]),
    "computing, threads": ("in thread", 600, ["--concurrency", "4"]),
    "computing, threads of 2 processes": (
        "in thread",
        600,
        ["--processes", "2", "--concurrency", "2"],
    ),
    "computing, threads of 4 processes": (
        "in thread",
        600,
        ["--processes", "4", "--concurrency", "1"],
    ),
    "computing, executor=process, 1": (
        "in process",
        600,
        ["--concurrency", "4", "--max-task-processes", "1"],
    ),
    "computing, executor=process, 2": (
        "in process",
        600,
        ["--concurrency", "4", "--max-task-processes", "2"],
    ),
}


def main() -> None:
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="taskq-bench-") as scratch:
        folder = Path(scratch)
        # The server runs as another user than root.
        folder.chmod(0o711)
        with EmbeddedServer(folder / "server") as server:
            url = server.url
            with App(url) as own:
                own.schema_manager.apply_schema()
            for _ in range(ROUNDS):
                for way, (task, jobs, options) in WAYS.items():
                    rates[way].append(_drain(url, task, jobs, options))
    for way, seen in rates.items():
        base = median(rates[next(iter(WAYS)) if way.startswith("no-op") else "computing, threads"])
        print(f"{way:36} {median(seen):8,.0f} jobs/s  {median(seen) / base:5.2f} x")


def _drain(url: str, task: str, jobs: int, options: list[str]) -> float:
    """Jobs per second from the first start to the last end, by the server's clock."""
    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_failed_attempts")
        connection.execute(
            "INSERT INTO taskq_jobs (task_name, args, queue_name)"
            " SELECT %s, '{}', 'default' FROM generate_series(1, %s)",
            [task, jobs],
        )
        connection.execute("VACUUM ANALYZE taskq_jobs")
        command = [sys.executable, "-m", "taskq", "--app", "benchmarks.processes:app", "worker"]
        subprocess.run(
            [*command, "--no-wait", *options],
            env=os.environ | {URL_VARIABLE: url},
            stderr=subprocess.DEVNULL,
            check=True,
        )
        row = connection.execute(
            "SELECT extract(EPOCH FROM max(finished_at) - min(started_at)),"
            " count(*) FILTER (WHERE status = 'succeeded') FROM taskq_jobs"
        ).fetchone()
        assert row
        assert row[1] == jobs
        return jobs / float(row[0])


if __name__ == "__main__":
    main()
