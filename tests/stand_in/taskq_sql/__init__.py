"""What stands in for the package that sqlc is to generate, in the tests and nowhere else.

The plugin that generates ``generated/taskq_sql`` cannot be had at present (docs/sql.md). This package
behaves as its output is documented to: a module per file of sql/queries, each with a ``Querier`` on a
SQLAlchemy connection that has a method per query, keyword parameters, and rows by attribute. It knows
no query itself: it reads the ones that sqlc has understood, from sqlc's JSON output. It is to be deleted
on the day that the real one is there.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]

# Where sqlc's JSON output lies already, for the many processes of one test run.
QUERIES_VARIABLE = "TASKQ_TEST_QUERIES"


def understood() -> dict[str, Any]:
    """sqlc's JSON output: its reading of the schema and of each query."""
    if path := os.environ.get(QUERIES_VARIABLE):
        return _read(Path(path))
    # In a folder of its own, which keeps parallel runs apart.
    with tempfile.TemporaryDirectory() as folder:
        return _read(understand(Path(folder)))


def understand(folder: Path) -> Path:
    """Have sqlc read ``sql/`` and write its JSON output in an empty folder; returns the file."""
    (folder / "sql").symlink_to(ROOT / "sql")
    shutil.copy(ROOT / "sqlc.yaml", folder)
    beside = Path(sys.executable).parent / "sqlc"
    subprocess.run([beside if beside.exists() else "sqlc", "generate"], cwd=folder, check=True)
    return folder / ".sqlc" / "queries.json"


def _read(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text())
    return read
