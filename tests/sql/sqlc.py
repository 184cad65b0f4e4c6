"""The queries of sql/queries as sqlc has generated them, ready to run and to explain on psycopg."""

import inspect
import os
import pkgutil
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

import taskq_sql
from taskq.worker.claim_cursor import ranges_behind

ROOT = Path(__file__).parents[2]
MIGRATIONS = sorted((ROOT / "sql" / "migrations").glob("*.sql"))

Row = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One query: the text that the server gets, and the names of its parameters in order."""

    name: str
    text: str
    parameters: Sequence[str]

    def run(self, connection: psycopg.Connection, **values: Any) -> list[Row]:
        """Run it with a value for each of its parameters."""
        arguments = [values.pop(parameter) for parameter in self.parameters]
        assert not values, f"{self.name} has no parameter {sorted(values)}"
        with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
            cursor.execute(self.text.encode(), arguments)
            return cursor.fetchall() if cursor.description else []


def claim(
    connection: psycopg.Connection,
    *,
    max_jobs: int,
    worker_id: int = 1,
    queue_names: Sequence[str] | None = None,
    marks: Mapping[tuple[str, int], int] | None = None,
    run_length: int = 1,
) -> list[Row]:
    """Claim jobs as a worker does: of the queues that have any, if none is named, and behind marks."""
    queries = read_queries()
    if queue_names is None:
        ready = queries["ListReadyQueues"].run(connection, max_queues=max_jobs)
        queue_names = [row["queue_name"] for row in ready]
    ranges = [part for queue in queue_names for part in ranges_behind(marks or {}, queue)]
    return queries["ClaimJobs"].run(
        connection,
        worker_id=worker_id,
        queue_names=[part.queue for part in ranges],
        highest=[part.highest for part in ranges],
        lowest=[part.lowest for part in ranges],
        after_ids=[part.after_id for part in ranges],
        max_jobs=max_jobs,
        run_length=run_length,
    )


def run_sqlc(*arguments: str, folder: Path = ROOT, **environment: str) -> tuple[int, str]:
    """Run sqlc; returns its exit code and what it says."""
    run = subprocess.run(
        ["sqlc", *arguments],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return run.returncode, run.stdout + run.stderr


def read_queries() -> dict[str, Query]:
    """Every query by its name in sql/queries."""
    return {query.name: query for query in _queries()}


def _queries() -> Iterator[Query]:
    for found in pkgutil.iter_modules(taskq_sql.__path__):
        module = import_module(f"taskq_sql.{found.name}")
        for constant, statement in vars(module).items():
            if constant.isupper() and isinstance(statement, str) and constant[0] != "_":
                method = getattr(module.Querier, constant.lower())
                _, *parameters = inspect.signature(method).parameters
                text = re.sub(r"(?<![\\:]):p(\d+)", r"$\1", statement).replace(r"\:", ":")
                yield Query(constant.title().replace("_", ""), text, parameters)
