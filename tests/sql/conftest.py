"""The queries of sql/queries, as sqlc has understood them, ready to run in a test."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

ROOT = Path(__file__).parents[2]

Row = dict[str, Any]
Run = Callable[..., list[Row]]


@dataclass(frozen=True)
class Column:
    """A parameter or a result column, with the type that sqlc gives it."""

    name: str
    type: str


@dataclass(frozen=True)
class Query:
    """One query: the text that sqlc sends, and its typed border."""

    name: str
    text: str
    parameters: Sequence[Column]
    columns: Sequence[Column]

    def run(self, connection: psycopg.Connection, **values: Any) -> list[Row]:
        """Run it with a value for each of its parameters."""
        arguments = [values.pop(parameter.name) for parameter in self.parameters]
        assert not values, f"{self.name} has no parameter {sorted(values)}"
        with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
            cursor.execute(self.text.encode(), arguments)
            return cursor.fetchall() if cursor.description else []


def _column(described: dict[str, Any]) -> Column:
    return Column(described["name"], described["type"]["name"])


@pytest.fixture(scope="session")
def queries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Query]:
    """Every query by its name. A folder of its own keeps parallel runs out of each other's way."""
    folder = tmp_path_factory.mktemp("sqlc")
    (folder / "sql").symlink_to(ROOT / "sql")
    shutil.copy(ROOT / "sqlc.yaml", folder)
    subprocess.run(["sqlc", "generate"], cwd=folder, check=True)
    request = json.loads((folder / ".sqlc" / "queries.json").read_text())
    return {
        query["name"]: Query(
            query["name"],
            query["text"],
            [_column(parameter["column"]) for parameter in query["params"]],
            [_column(column) for column in query["columns"]],
        )
        for query in request["queries"]
    }


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
        for path in sorted((ROOT / "sql" / "migrations").glob("*.sql")):
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
