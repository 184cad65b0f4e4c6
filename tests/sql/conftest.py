"""The queries of sql/queries, as sqlc has understood them, ready to run in a test."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from tests.sql.sqlc import MIGRATIONS, Query, Row, read_queries

Run = Callable[..., list[Row]]


@pytest.fixture(scope="session")
def queries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Query]:
    """Every query by its name."""
    return read_queries(tmp_path_factory.mktemp("sqlc"))


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """Opens further autocommit connections to the test's database, closed at its end."""
    with ExitStack() as opened:

        def open_one() -> psycopg.Connection:
            uri = database_url.replace("postgresql+psycopg://", "postgresql://")
            return opened.enter_context(psycopg.connect(uri, autocommit=True))

        yield open_one


@pytest.fixture
def migrate() -> Callable[[psycopg.Connection], None]:
    """Applies every migration in the namespace that a connection's search_path names."""

    def apply(connection: psycopg.Connection) -> None:
        for path in MIGRATIONS:
            connection.execute(path.read_bytes())

    return apply


@pytest.fixture
def run(connection: psycopg.Connection, queries: dict[str, Query]) -> Run:
    """Runs a query by its name on the test's connection."""

    def run_query(name: str, **values: Any) -> list[Row]:
        return queries[name].run(connection, **values)

    return run_query


@pytest.fixture
def defer(run: Run) -> Callable[..., list[int]]:
    """Defers jobs, each a mapping with what differs from a plain one; returns their ids."""

    def defer_jobs(*jobs: dict[str, Any]) -> list[int]:
        rows = run("DeferJobs", jobs=json.dumps([{"task_name": "noop"} | job for job in jobs]))
        return [row["id"] for row in rows]

    return defer_jobs


@pytest.fixture
def claim(run: Run) -> Callable[..., list[int]]:
    """Claims jobs for worker 1, of any queue, unless told otherwise; returns their ids."""

    def claim_jobs(
        max_jobs: int = 10, *, worker_id: int = 1, queue_names: list[str] | None = None
    ) -> list[int]:
        rows = run("ClaimJobs", max_jobs=max_jobs, worker_id=worker_id, queue_names=queue_names)
        return [row["id"] for row in rows]

    return claim_jobs


@pytest.fixture
def finish(run: Run) -> Callable[..., list[int]]:
    """Ends the first attempt of jobs of worker 1 as succeeded, unless told otherwise."""

    def finish_jobs(*ids: int, worker_id: int = 1, **outcome: Any) -> list[int]:
        outcomes = [{"job_id": id_, "attempt": 1, "status": "succeeded"} | outcome for id_ in ids]
        rows = run("FinishJobs", worker_id=worker_id, outcomes=json.dumps(outcomes))
        return [row["id"] for row in rows]

    return finish_jobs
