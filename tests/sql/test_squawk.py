"""The linter of the migrations, as it is configured, stops what would stall, and nothing else."""

import subprocess
from pathlib import Path

import pytest

from tests.schema.conftest import COMING
from tests.sql.sqlc import MIGRATIONS, ROOT


def lint(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["squawk", "--config", ROOT / ".squawk.toml", "--reporter", "gcc", *paths],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_migrations_pass() -> None:
    linted = lint(*MIGRATIONS)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize("name", [name for name in COMING if name.startswith("pre")])
def test_what_is_safe_passes(tmp_path: Path, name: str) -> None:
    (tmp_path / "0002.sql").write_text(COMING[name])
    linted = lint(tmp_path / "0002.sql")
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX a ON taskq_jobs (task_name);", "require-concurrent-index-creation"),
        ("DROP INDEX IF EXISTS a;", "require-concurrent-index-deletion"),
        ("ALTER TABLE taskq_jobs ADD COLUMN a text NOT NULL;", "adding-required-field"),
        ("ALTER TABLE taskq_jobs ADD CONSTRAINT a CHECK (id > 0);", "constraint-missing-not-valid"),
        ("ALTER TABLE taskq_jobs ALTER COLUMN priority TYPE bigint;", "changing-column-type"),
        ("ALTER TABLE taskq_jobs ALTER COLUMN lock SET NOT NULL;", "adding-not-nullable-field"),
        ("ALTER TABLE taskq_jobs RENAME COLUMN lock TO locked;", "renaming-column"),
        ("ALTER TABLE taskq_jobs DROP COLUMN lock;", "ban-drop-column"),
        ("CREATE INDEX CONCURRENTLY a ON taskq_jobs (task_name);", "prefer-robust-stmts"),
    ],
)
def test_what_would_stall_the_traffic_or_break_the_old_code_does_not(
    tmp_path: Path, statement: str, rule: str
) -> None:
    (tmp_path / "0002.sql").write_text(statement)
    linted = lint(tmp_path / "0002.sql")
    assert linted.returncode == 1
    assert f"{rule} " in linted.stdout
