"""The queries of sql/queries as sqlc has generated them, ready to run and to explain on psycopg."""

import inspect
import pkgutil
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from sqlalchemy import TextClause

import taskq_sql

ROOT = Path(__file__).parents[2]
MIGRATIONS = sorted((ROOT / "sql" / "migrations").glob("*.sql"))

Row = dict[str, Any]

# For a claim that leaves nothing out.
NO_MARKS: dict[str, list[Any]] = {"mark_queues": [], "mark_priorities": [], "mark_ids": []}


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


def read_queries() -> dict[str, Query]:
    """Every query by its name in sql/queries."""
    return {query.name: query for query in _queries()}


def _queries() -> Iterator[Query]:
    for found in pkgutil.iter_modules(taskq_sql.__path__):
        module = import_module(f"taskq_sql.{found.name}")
        for constant, statement in vars(module).items():
            if isinstance(statement, TextClause):
                method = getattr(module.Querier, constant.lower())
                _, *parameters = inspect.signature(method).parameters
                text = re.sub(r"(?<![\\:]):p(\d+)", r"$\1", statement.text).replace(r"\:", ":")
                yield Query(constant.title().replace("_", ""), text, parameters)
