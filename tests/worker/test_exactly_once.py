"""What tasks do in their transactions is done once, however often their workers are killed.

TASKQ_TEST_KILLS=200 pytest -m slow tests/worker/test_exactly_once.py
"""

import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import NullPool, create_engine

from taskq import App, JobStatus
from tests.worker import counting
from tests.worker.conftest import Program

KILLS = int(os.environ.get("TASKQ_TEST_KILLS", "20"))
WORKERS = 2
BATCH = 200

# Of jobs that killed no worker: none is to fail for having been there.
OPTIONS = {
    "concurrency": 8,
    "update_heartbeat_interval": 0.2,
    "stalled_worker_timeout": 1.5,
    "max_crashes": 1_000_000,
}


class Crew:
    """Workers that are killed at random, with enough to do."""

    def __init__(self, connection: psycopg.Connection, app: App, program: Program) -> None:
        self._connection = connection
        self._app = app
        self._program = program
        self._random = random.Random(7)
        self._workers = [self._start() for _ in range(WORKERS)]
        self.deferred = 0

    def kill_one(self) -> None:
        """Kill a worker that is at work, at a random moment."""
        index = self._random.randrange(WORKERS)
        self.await_progress()
        time.sleep(self._random.uniform(0, 0.1))
        worker = self._workers[index]
        assert worker.poll() is None
        worker.kill()
        worker.wait()
        self._workers[index] = self._start()

    def await_progress(self) -> None:
        """Wait until jobs end, with more to come."""
        ended, deadline = self._count("succeeded"), time.monotonic() + 60
        while self._count("succeeded") <= ended + 10:
            assert time.monotonic() < deadline, "no job ends any more"
            if self._count("todo") < BATCH // 2:
                self._defer()
            time.sleep(0.01)

    def finish(self) -> None:
        """Wait until nothing is left to do."""
        deadline = time.monotonic() + 60
        while self._count("todo") + self._count("doing"):
            assert time.monotonic() < deadline, "jobs are left"
            time.sleep(0.05)

    def _start(self) -> subprocess.Popen[str]:
        return self._program(str(Path(counting.__file__)), **OPTIONS)

    def _defer(self) -> None:
        numbers = range(2 * self.deferred, 2 * (self.deferred + BATCH), 2)
        with self._connection.cursor() as cursor:
            cursor.executemany("INSERT INTO counters VALUES (%s)", [[n] for n in numbers])
            cursor.executemany("INSERT INTO counters VALUES (%s)", [[n + 1] for n in numbers])
        # Some one after the other: the next one begins only if the one before is free of its lock.
        self._app.job_manager.defer_jobs(
            [
                self._random.choice(counting.TASKS)
                .configure(lock=self._random.choice([None, None, "a", "b"]))
                .prepare(counter=n, echoed=n + 1)
                for n in numbers
            ]
        )
        self.deferred += BATCH

    def _count(self, status: str) -> int:
        row = self._connection.execute(
            "SELECT count(*) FROM taskq_jobs WHERE status = %s::taskq_job_status", [status]
        ).fetchone()
        assert row
        return int(row[0])


@pytest.mark.slow
def test_each_effect_is_there_once_however_often_workers_are_killed(
    connection: psycopg.Connection, database_url: str, program: Program
) -> None:
    connection.execute("CREATE TABLE counters (id integer PRIMARY KEY, count integer DEFAULT 0)")
    with counting.app.replace_database(create_engine(database_url, poolclass=NullPool)) as app:
        crew = Crew(connection, app, program)
        for _ in range(KILLS):
            crew.kill_one()
        crew.finish()
    counts = connection.execute("SELECT count FROM counters").fetchall()
    assert Counter(count for (count,) in counts) == {1: 2 * crew.deferred}
    ends = connection.execute("SELECT status, count(*) FROM taskq_jobs GROUP BY status").fetchall()
    assert dict(ends) == {JobStatus.SUCCEEDED: 2 * crew.deferred}
    died = connection.execute(
        "SELECT count(*) FROM taskq_failed_attempts WHERE error_type LIKE '%WorkerDied'"
    ).fetchone()
    assert died
    # They were killed in the middle of it.
    assert died[0] >= KILLS
    others = connection.execute(
        "SELECT DISTINCT error_type FROM taskq_failed_attempts WHERE error_type NOT LIKE '%WorkerDied'"
    ).fetchall()
    assert others == []
    print(
        f"{KILLS} kills, {died[0]} attempts cut off, {crew.deferred} jobs and as many that these deferred"
    )
