"""The command that opens the database, or prints the way in."""

import os
from pathlib import Path

import psycopg
import pytest

from tests.cli.conftest import SHOP, Taskq, ended

URL = "postgresql://me:s%40cret@localhost:1/shop?application_name=a%20b"


def line(output: str, name: str) -> str:
    [found] = [said for said in output.splitlines() if said.startswith(f"{name}:")]
    return found.removeprefix(f"{name}:").strip()


@pytest.mark.slow
def test_arguments_go_to_psql_on_the_database(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE only_here AS SELECT 42")
    query = ["--command", "SELECT * FROM only_here", "--tuples-only", "--no-align"]
    for app in ([], ["--app", SHOP]):
        done = ended("database", *app, "--", *query)
        assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")
    assert ended("database", "--", "--command", "nonsense").returncode == 1


def test_where_there_is_no_terminal_it_prints_a_way_in_that_works(taskq: Taskq) -> None:
    done = taskq("database")
    assert line(done.stdout, "database") == "named by TASKQ_DATABASE_URL"
    with psycopg.connect(line(done.stdout, "URL")) as reached:
        assert reached.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (0,)


def test_a_password_is_printed_only_if_asked_for(taskq: Taskq) -> None:
    done = taskq("database", "--database", URL)
    assert "cret" not in done.output
    assert "--password" in done.output
    with_it = taskq("database", "--database", URL, "--password").output
    assert ":s%40cret@" in line(with_it, "URL")
    assert "s@cret" in line(with_it, "psql")


def test_the_password_is_no_argument_of_psql(
    taskq: Taskq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    psql = tmp_path / "psql"
    psql.write_text('#!/bin/sh\necho "$PGPASSWORD" "$@" > "$0.told"\nexit 3\n')
    psql.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert taskq("database", "--database", URL, "--", "-x").exit_code == 3
    told = Path(f"{psql}.told").read_text()
    assert told.startswith("s@cret ")
    assert told.endswith(" -x\n")
    assert told.count("cret") == 1


@pytest.mark.slow
def test_an_embedded_server_runs_as_long_as_psql(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TASKQ_DATABASE_URL")
    monkeypatch.setenv("TASKQ_EMBEDDED_FOLDER", str(tmp_path))
    tmp_path.chmod(0o711)
    shown = ended("database", "--show").stdout
    assert f"embedded in '{tmp_path}'" in line(shown, "database")
    done = ended("database", "--", "--command", "SHOW data_directory", "--tuples-only")
    assert done.returncode == 0
    assert done.stdout.strip().startswith(str(tmp_path))
    assert not list(tmp_path.glob("*/postmaster.pid"))
