"""More workers, and more jobs: neither may make taskq slower."""

import os
import subprocess
import sys
from contextlib import ExitStack
from statistics import median
from time import perf_counter, sleep

import psycopg

from benchmarks.figures import SCALE, WAITING, Medians
from benchmarks.server import fresh_database
from taskq import App, queries
from taskq.database.database import URL_VARIABLE
from taskq.queries.session import prepare_session
from taskq.worker.connections import TUNED

app = App(os.environ.get(URL_VARIABLE, "postgresql://"))

DRAINED = 60_000
ROUNDS = 5
FEW = 10_000
CLAIMS = 60


@app.task(name="noop")
async def noop() -> None: ...


def scale(server: str, many: int) -> Medians:
    """Jobs per second of one worker, two and four; milliseconds of a claim with few and many waiting.

    Args:
        server: As libpq takes it.
        many: How many jobs are many.
    """
    with fresh_database(server, "benchmark_scale") as url:
        with App(url) as own:
            own.schema_manager.apply_schema()
        rates: dict[int, list[float]] = {1: [], 2: [], 4: []}
        for _ in range(ROUNDS):
            for workers, seen in rates.items():
                seen.append(_drain(url, workers))
        return {
            SCALE: {str(workers): median(seen) for workers, seen in rates.items()},
            WAITING: _claims(server, (FEW, many)),
        }


def _drain(url: str, workers: int) -> float:
    """Jobs per second from the first start to the last end, by the server's clock."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE taskq_jobs, taskq_failed_attempts")
        _fill(connection, DRAINED)
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


def _fill(connection: psycopg.Connection, jobs: int) -> None:
    """Have jobs wait: past the one way in, which ten million would take long to go."""
    connection.execute(
        "INSERT INTO taskq_jobs (task_name, args, queue_name)"
        " SELECT 'noop', '{}', 'default' FROM generate_series(1, %s)",
        [jobs],
    )
    connection.execute("VACUUM ANALYZE taskq_jobs")


def _claims(server: str, waiting: tuple[int, ...]) -> dict[str, float]:
    """Milliseconds for a claim of 100 with so many waiting: medians, interleaved."""
    took: dict[str, list[float]] = {}
    with ExitStack() as stack:
        sessions = {}
        for jobs in waiting:
            url = stack.enter_context(fresh_database(server, f"benchmark_waiting_{jobs}"))
            own = stack.enter_context(App(url))
            own.schema_manager.apply_schema()
            with psycopg.connect(url, autocommit=True) as connection:
                _fill(connection, jobs)
            sessions[f"{jobs:,}"] = opened = stack.enter_context(own.database.engine.connect())
            prepare_session(opened, TUNED)
        with psycopg.connect(server, autocommit=True) as connection:
            # What filling them left to write shall not be written now.
            connection.execute("CHECKPOINT")
        for _ in range(CLAIMS):
            for name, opened in sessions.items():
                began = perf_counter()
                claimed = queries.job_claim.claim_from_queues(opened, 1, None, 100)
                took.setdefault(name, []).append((perf_counter() - began) * 1000)
                assert len(claimed) == 100
    return {name: median(seen) for name, seen in took.items()}
