"""The plugin that writes the generated modules; what it writes is tested wherever a query runs."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.sql.sqlc import ROOT

SCHEMA = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE persons (id bigint PRIMARY KEY, mood mood NOT NULL, moods mood [], place point);
COMMENT ON COLUMN persons.mood IS 'How it feels.';
"""


def generated(folder: Path, query: str, schema: str = SCHEMA) -> tuple[int, str]:
    """Runs sqlc with the plugin on one query; returns its exit code and what it says or wrote."""
    (folder / "sql" / "migrations").mkdir(parents=True)
    (folder / "sql" / "migrations" / "0001.sql").write_text(schema)
    (folder / "sql" / "queries").mkdir()
    (folder / "sql" / "queries" / "people.sql").write_text(query)
    shutil.copy(ROOT / "sqlc.yaml", folder)
    shutil.copytree(ROOT / "tools", folder / "tools")
    run = subprocess.run(
        ["sqlc", "generate"],
        cwd=folder,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    written = folder / "generated" / "taskq_sql" / "people.py"
    return run.returncode, written.read_text() if written.exists() else run.stderr


def test_an_enum_and_a_table_are_typed_and_a_comment_is_carried_over(tmp_path: Path) -> None:
    schema = SCHEMA.replace(", place point", "")
    code, written = generated(
        tmp_path, "-- name: AllPeople :many\n-- Everybody.\nSELECT * FROM persons;\n", schema
    )
    assert code == 0, written
    assert '-> Iterator[models.Person]:\n        """Everybody."""' in written
    models = (tmp_path / "generated" / "taskq_sql" / "models.py").read_text()
    assert 'class Mood(enum.StrEnum):\n\n    SAD = "sad"\n    GLAD = "glad"\n' in models
    assert "    # How it feels.\n    mood: Mood\n    moods: list[Mood] | None\n" in models


def test_a_type_that_python_has_no_word_for_is_refused(tmp_path: Path) -> None:
    code, said = generated(tmp_path, "-- name: Ids :many\nSELECT id FROM persons;\n")
    assert code != 0
    assert "table persons: the type of place is point" in said


def test_a_command_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    schema = SCHEMA.replace(", place point", "")
    code, said = generated(tmp_path, "-- name: Forget :execrows\nDELETE FROM persons;\n", schema)
    assert code != 0
    assert "Forget: :execrows is not known here: write :exec, :many, :one" in said


def test_what_the_official_generator_cannot_write_is_refused(tmp_path: Path) -> None:
    schema = SCHEMA.replace(", place point", "")
    query = r"-- name: Odd :many" "\n" r"SELECT id FROM persons WHERE mood::text LIKE 's\_d';" "\n"
    code, said = generated(tmp_path, query, schema)
    assert code != 0
    assert "query Odd contains \\, which sqlc-gen-python cannot write" in said
