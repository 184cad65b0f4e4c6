"""The queries of sql/queries, as sqlc has generated them, ready to run in a test."""

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from tests.sql import sqlc
from tests.sql.sqlc import Query, Row, read_queries

# What a query takes that is for jobs of any status.
STATUSES = ["todo", "doing", "succeeded", "failed", "cancelled", "aborted"]

Run = Callable[..., list[Row]]
Ids = Callable[..., list[int]]
JobOf = Callable[[int], Row]
HeldLocks = Callable[[], list[tuple[Any, ...]]]
Notified = Callable[[], list[str]]
Connect = Callable[[], psycopg.Connection]
DeferOn = Callable[..., list[int | None]]


@pytest.fixture(scope="session")
def queries() -> dict[str, Query]:
    """Every query by its name."""
    return read_queries()


@pytest.fixture
def connect(database_url: str) -> Iterator[Connect]:
    """Opens further autocommit connections to the test's database, closed at its end."""
    with ExitStack() as opened:

        def open_one() -> psycopg.Connection:
            uri = database_url.replace("postgresql+psycopg://", "postgresql://")
            return opened.enter_context(psycopg.connect(uri, autocommit=True))

        yield open_one


@pytest.fixture
def run(connection: psycopg.Connection, queries: dict[str, Query]) -> Run:
    """Runs a query by its name on the test's connection."""

    def run_query(name: str, /, **values: Any) -> list[Row]:
        return queries[name].run(connection, **values)

    return run_query


@pytest.fixture
def defer(run: Run) -> Ids:
    """Defers jobs, each a mapping with what differs from a plain one; returns their ids."""

    def defer_jobs(*jobs: dict[str, Any]) -> list[int]:
        rows = run(
            "DeferJobs",
            on_conflict="raise",
            share_notification=False,
            numbers_checked=False,
            jobs=json.dumps([{"task_name": "noop"} | job for job in jobs]),
        )
        return [row["id"] for row in rows]

    return defer_jobs


@pytest.fixture
def defer_on(queries: dict[str, Query]) -> DeferOn:
    """Defers jobs on a connection, each a mapping with what differs from a plain one."""

    def defer(connection: psycopg.Connection, on_conflict: str, *jobs: Any) -> list[int | None]:
        rows = queries["DeferJobs"].run(
            connection,
            on_conflict=on_conflict,
            share_notification=False,
            numbers_checked=False,
            jobs=json.dumps([{"task_name": "noop"} | job for job in jobs]),
        )
        return [row["id"] or None for row in rows]

    return defer


@pytest.fixture
def claim(connection: psycopg.Connection) -> Ids:
    """Claims 10 jobs for worker 1, of any queue, unless told otherwise; returns their ids."""

    def claim_jobs(max_jobs: int = 10, **options: Any) -> list[int]:
        return [row["id"] for row in sqlc.claim(connection, max_jobs=max_jobs, **options)]

    return claim_jobs


@pytest.fixture
def finish(run: Run) -> Ids:
    """Ends the first claim of jobs of worker 1 as succeeded, unless told otherwise.

    The lock that a job holds is the one in its row, as the worker has it from its claim.
    """

    def finish_jobs(*ids: int, worker_id: int = 1, **outcome: Any) -> list[int]:
        plain = {"claim": 1, "status": "succeeded"}
        outcomes = [
            plain | {"job_id": id_, "held_lock": job["lock"]} | outcome
            for id_ in ids
            for job in run("GetJob", id=id_)
        ]
        [ours] = run("FinishJobs", worker_id=worker_id, outcomes=json.dumps(outcomes))
        return list(ours["ids"])

    return finish_jobs


@pytest.fixture
def job_of(run: Run) -> JobOf:
    """A job by its id."""

    def get_job(id_: int) -> Row:
        [job] = run("GetJob", id=id_)
        return job

    return get_job


@pytest.fixture
def held_locks(connection: psycopg.Connection) -> HeldLocks:
    """The locks that are held, each with the job that holds it."""

    def list_locks() -> list[tuple[Any, ...]]:
        return connection.execute(
            "SELECT lock, id FROM taskq_jobs WHERE status = 'doing' AND lock <> '' ORDER BY lock, id"
        ).fetchall()

    return list_locks


@pytest.fixture
def notified(connection: psycopg.Connection, connect: Connect) -> Notified:
    """What workers were notified of since the last call, sorted, without transaction numbers."""
    listener = connect()
    listener.execute("SELECT taskq_listen()")

    def hear() -> list[str]:
        connection.execute("SELECT pg_notify(taskq_channel(), 'mark')")
        payloads = until_mark(listener)
        return sorted(re.sub(r"^ready \d+ ", "ready ", payload) for payload in payloads)

    return hear


def until_mark(listener: psycopg.Connection) -> list[str]:
    """What a session heard before a mark, which comes after all that was notified before it."""
    heard: list[str] = []
    for notify in listener.notifies(timeout=10):
        if notify.payload == "mark":
            return heard
        heard.append(notify.payload)
    raise AssertionError(f"the mark never came, only {heard}")


@contextmanager
def waiting_for(
    holder: psycopg.Connection, waiter: psycopg.Connection, observer: psycopg.Connection
) -> Iterator[Callable[..., "Future[Any]"]]:
    """Runs what has to wait for a transaction, which goes on once it does."""
    with ThreadPoolExecutor() as pool:

        def run(function: Callable[..., Any], *args: Any) -> "Future[Any]":
            late = pool.submit(function, *args)
            blocked_by: tuple[Any, ...] | None = None
            while blocked_by != ([holder.info.backend_pid],):
                assert not late.done(), late.result()
                blocked_by = observer.execute(
                    "SELECT pg_blocking_pids(%s)", [waiter.info.backend_pid]
                ).fetchone()
            return late

        yield run
