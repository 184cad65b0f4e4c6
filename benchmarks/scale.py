"""More workers, and more jobs: neither may make taskq slower.

    python -m benchmarks.scale [URL] [--waiting N]

Drains the same number of jobs with 1, 2 and 4 worker processes, and claims from a table of 10,000
waiting jobs and of ten million.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

import psycopg
from sqlalchemy import create_engine

from taskq import App
from taskq.database import URL_VARIABLE
from taskq.embedded import EmbeddedServer
from taskq.manager import operations

app = App(os.environ.get(URL_VARIABLE, "postgresql://"))

DRAINED = 60_000
ROUNDS = 3


@app.task(name="noop")
async def noop() -> None: ...


def drain(url: str, workers: int) -> float:
    """Jobs per second from the first start to the last end, by the server's clock."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_failed_attempts")
        fill(connection, DRAINED)
        command = [sys.executable, "-m", "taskq", "--app", "benchmarks.scale:app", "worker"]
        environment = os.environ | {URL_VARIABLE: url}
        processes = [
            subprocess.Popen(
                [*command, "--concurrency", "100"], env=environment, stderr=subprocess.DEVNULL
            )
            for _ in range(workers)
        ]
        try:
            while True:
                row = connection.execute(
                    "SELECT count(*) FROM (SELECT FROM taskq_jobs"
                    " WHERE status IN ('todo', 'doing') LIMIT 1) AS left_over"
                ).fetchone()
                if row == (0,):
                    break
                sleep(0.1)  # the cores are for the workers
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(30)
        row = connection.execute(
            "SELECT extract(EPOCH FROM max(finished_at) - min(started_at)) FROM taskq_jobs"
        ).fetchone()
        assert row
        return DRAINED / float(row[0])


def fill(connection: psycopg.Connection, jobs: int) -> None:
    """Have jobs wait: past the one way in, which ten million would take long to go."""
    connection.execute(
        "INSERT INTO taskq_jobs (task_name, args, queue_name)"
        " SELECT 'noop', '{}', 'default' FROM generate_series(1, %s)",
        [jobs],
    )
    connection.execute("VACUUM ANALYZE taskq_jobs")


def claim(url: str, waiting: int) -> float:
    """Milliseconds for a claim of 100, median."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_failed_attempts")
        fill(connection, waiting)
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1))
    took = []
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as opened:
        operations.tune_session(opened)
        for _ in range(30):
            began = perf_counter()
            jobs = operations.claim_jobs(opened, 1, None, 100)
            took.append((perf_counter() - began) * 1000)
            assert len(jobs) == 100
    engine.dispose()
    return median(took)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--waiting", type=int, default=10_000_000)
    options = parser.parse_args()
    with ExitStack() as stack:
        url = options.url
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-scale-")))
            folder.chmod(0o711)
            url = stack.enter_context(EmbeddedServer(folder / "server")).url
        url = url.replace("+psycopg", "", 1)
        with App(url) as own:
            own.schema_manager.apply_schema()
        rates: dict[int, list[float]] = {1: [], 2: [], 4: []}
        for _ in range(ROUNDS):
            for workers, seen in rates.items():
                seen.append(drain(url, workers))
        for workers, seen in rates.items():
            ratio = median(seen) / median(rates[1])
            print(
                f"{workers} workers drain {median(seen):10,.0f} jobs/s, {ratio:.2f} of one worker's"
            )
        few, many = claim(url, 10_000), claim(url, options.waiting)
        print(f"a claim of 100 with 10,000 jobs waiting: {few:.1f} ms")
        print(f"a claim of 100 with {options.waiting:,}: {many:.1f} ms, {many / few:.2f} of that")


if __name__ == "__main__":
    main()
