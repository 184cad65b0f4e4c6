"""The queries of sql/queries as sqlc has understood them, from its JSON output, ready to run.

sqlc's generated Python is to take this module's place.
"""

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

ROOT = Path(__file__).parents[2]
MIGRATIONS = sorted((ROOT / "sql" / "migrations").glob("*.sql"))

Row = dict[str, Any]


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


def read_queries(folder: Path) -> dict[str, Query]:
    """Every query by its name.

    Args:
        folder: An empty one for sqlc to write in, which keeps parallel runs apart.
    """
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
