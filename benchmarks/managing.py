"""What it takes to list and count jobs beside millions that have finished.

    python -m benchmarks.managing [URL]

on the server that URL names, as a user who may create databases, or on an embedded one. Loading the jobs
takes a minute; machines are noisy: compare within one run.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from sqlalchemy import URL

from benchmarks.claims import fresh_database
from taskq import App
from taskq.embedded import EmbeddedServer
from taskq.manager import JobManager
from tests.sql.crowds import insert

FINISHED = 5_000_000
ROUNDS = 20

Call = Callable[[JobManager], object]

HOUR_AGO = datetime.now(UTC) - timedelta(hours=1)

CALLS: dict[str, Call] = {
    "a page of 100": lambda jobs: jobs.list_jobs(),
    "… the newest first": lambda jobs: jobs.list_jobs(newest_first=True),
    "… from the middle on": lambda jobs: jobs.list_jobs(after=FINISHED // 2),
    "… of one queue": lambda jobs: jobs.list_jobs(queue="queue 3"),
    "… of a queue that is not there": lambda jobs: jobs.list_jobs(queue="none"),
    "… with an argument that none has": lambda jobs: jobs.list_jobs(task_kwargs={"n": -1}),
    "… that finished lately": lambda jobs: jobs.list_jobs(
        finished_after=HOUR_AGO, newest_first=True
    ),
    "… that failed": lambda jobs: jobs.list_jobs(status="failed"),
    "… that failed, of a task that is not there": lambda jobs: jobs.list_jobs(
        status="failed", task="none"
    ),
    "… that wait": lambda jobs: jobs.list_jobs(status="todo"),
    "… that wait, of one task": lambda jobs: jobs.list_jobs(status="todo", task="task 7"),
    "… that wait, of one lock": lambda jobs: jobs.list_jobs(status="todo", lock="lock 7"),
    "… that run": lambda jobs: jobs.list_jobs(status="doing"),
    "a count of what waits and runs": lambda jobs: jobs.count_jobs(status=["todo", "doing"]),
    "a count of everything": lambda jobs: jobs.count_jobs(),
    "queues": lambda jobs: jobs.list_queues(),
    "locks": lambda jobs: jobs.list_locks(),
    "workers": lambda jobs: jobs.list_workers(),
}


def load(connection: psycopg.Connection) -> None:
    """5 M jobs that have finished, one of 1,000 of which failed, and 21,000 that wait or run."""
    kinds = {
        "queue": "'queue ' || n % 5",
        "task_name": "'task ' || n % 20",
        "args": "jsonb_build_object('n', n)",
    }
    insert(
        connection,
        FINISHED,
        status="(CASE WHEN n % 1000 = 0 THEN 'failed' ELSE 'succeeded' END)::taskq_job_status",
        deferred_at=f"now() - ({FINISHED} - n) * interval '1 s'",
        finished_at=f"now() - ({FINISHED} - n) * interval '1 s'",
        **kinds,
    )
    insert(connection, 10_000, **kinds)
    insert(connection, 5_000, lock="'lock ' || n % 100", **kinds)
    insert(connection, 5_000, scheduled_at="now() + interval '1 day'", due="false", **kinds)
    insert(connection, 1_000, status="'doing'", worker_id="1", started_at="now()", **kinds)
    connection.execute("VACUUM ANALYZE")


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-benchmark-")))
        folder.chmod(0o711)
        given = sys.argv[1:]
        server = given[0] if given else stack.enter_context(EmbeddedServer(folder / "server")).url
        connection = stack.enter_context(fresh_database(server.replace("+psycopg", "", 1)))
        info = connection.info
        print(f"PostgreSQL {info.server_version // 10000}, {FINISHED:,} finished jobs\n")
        load(connection)
        url = URL.create(
            "postgresql+psycopg",
            username=info.user,
            password=info.password or None,
            database=info.dbname,
            query={"host": info.host, "port": str(info.port)},
        )
        with App(url) as app:
            print(f"{'ms':44} {'first':>8} {'median':>8} {'longest':>8}")
            for name, call in CALLS.items():
                took = []
                for _ in range(ROUNDS):
                    start = time.perf_counter()
                    call(app.job_manager)
                    took.append((time.perf_counter() - start) * 1000)
                print(f"{name:44} {took[0]:8.1f} {statistics.median(took):8.1f} {max(took):8.1f}")


if __name__ == "__main__":
    main()
