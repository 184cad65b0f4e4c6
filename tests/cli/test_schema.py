"""The commands about the schema."""

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest

from taskq.embedded.wheel import open_wheel
from taskq.schema import read_migrations
from tests.cli.conftest import SHOP, Taskq, ended, process
from tests.cli.terminal import on_terminal

NOTHING = "nothing to do: the database has the whole schema already\n"

FIRST = read_migrations()[0]


def run_psql(url: str, script: str) -> str:
    uri = url.replace("postgresql+psycopg://", "postgresql://")
    done = subprocess.run(
        [open_wheel().programs / "psql", "-X", "-q", "-d", uri],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "ERROR" in done.stderr) == (0, False), done.stderr
    return done.stdout


@pytest.fixture
def newer(connection: psycopg.Connection) -> str:
    """Makes the test's database one that a newer version has migrated; returns that migration's name."""
    name = "0099_post_end_of_line.sql"
    row = "INSERT INTO taskq_migrations (version, name, checksum) VALUES (99, %s, 'x')"
    connection.execute(row, [name])
    return name


# apply


def test_apply_says_what_it_applied_and_then_that_there_is_nothing_to_do(bare_url: str) -> None:
    first, second = (ended("schema", "apply", "--database", bare_url) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "".join(f"applied {step.name}\n" for step in read_migrations())
    assert (second.returncode, second.stdout) == (0, NOTHING)


def test_without_an_app_the_environment_names_the_database(taskq: Taskq, bare_url: str) -> None:
    done = taskq("schema", "apply", env={"TASKQ_DATABASE_URL": bare_url})
    assert "applied 0001_pre_tables.sql" in done.stdout


def test_an_app_names_the_database(taskq: Taskq) -> None:
    done = taskq("schema", "apply", "--app", SHOP)
    assert (done.exit_code, done.stdout) == (0, NOTHING)


def test_a_database_that_is_named_wins_over_the_app(taskq: Taskq, bare_url: str) -> None:
    done = taskq("schema", "apply", "--app", "nowhere:app", "--database", bare_url)
    assert done.exit_code == 0


def test_apply_stops_where_it_is_told_and_says_what_is_left(
    taskq: Taskq, bare_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for migration in read_migrations():
        (tmp_path / migration.name).write_bytes(migration.sql)
    last = len(read_migrations()) + 1
    (tmp_path / f"{last:04}_pre_more.sql").write_text("CREATE TABLE more ();")
    (tmp_path / f"{last + 1:04}_post_less.sql").write_text("DROP TABLE more;")
    monkeypatch.setattr("taskq.schema.migration._FOLDERS", (tmp_path,))
    monkeypatch.setenv("TASKQ_DATABASE_URL", bare_url)
    rest = [f"{last:04}_pre_more.sql", f"{last + 1:04}_post_less.sql"]

    done = taskq("schema", "apply", "--up-to", "1")
    assert done.stdout.startswith("applied 0001_pre_tables.sql\nstill to be applied: ")
    assert done.stdout.endswith(f"{', '.join(rest)}\n")
    taskq("schema", "apply", "--up-to", str(last - 1))
    done = taskq("schema", "check")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "more.sql" in done.stderr
    done = taskq("schema", "apply", "--pre")
    assert done.stdout.endswith(f"applied {rest[0]}\nstill to be applied: {rest[1]}\n")
    done = taskq("schema", "check")
    assert (done.exit_code, done.stdout) == (
        0,
        "this version of taskq runs on the database\n"
        f"to be applied when no older version runs any more: {rest[1]}\n",
    )
    assert taskq("schema", "sql", "--pre").stdout.startswith("-- nothing to do")
    assert "DROP TABLE more;" in taskq("schema", "sql").stdout
    assert taskq("schema", "apply").stdout == f"applied {rest[1]}\n"


@pytest.mark.slow
def test_who_is_in_the_way_is_told_while_it_waits(
    bare_url: str, connection: psycopg.Connection
) -> None:
    ended("schema", "apply", "--database", bare_url)
    connection.autocommit = False
    connection.execute("SELECT count(*) FROM bare.taskq_jobs")
    done = ended("schema", "remove", "--yes", "--patience", "2", "--database", bare_url)
    connection.rollback()
    assert (done.returncode, done.stdout) == (1, "")
    warning, *_, error = done.stderr.splitlines()
    who = f"process {connection.info.backend_pid} of "
    assert f"the removal waits for a lock, and tries again in 0.5 s: {who}" in warning
    assert error.startswith("Error: the removal could not get a lock within 2 s")
    assert who in error


# status


def statuses(taskq: Taskq) -> list[Any]:
    listed: list[Any] = json.loads(taskq("schema", "status", "--json").stdout)
    return listed


def test_status_is_a_table_for_people_and_json_for_programs(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    done = ended("schema", "status")
    assert (done.returncode, done.stderr) == (0, "")
    heading, _, first = done.stdout.splitlines()[:3]
    assert heading.split() == ["migration", "phase", "state", "applied"]
    assert first.split()[:3] == ["0001_pre_tables.sql", "pre", "applied"]
    row = connection.execute("SELECT applied_at FROM taskq_migrations WHERE version = 1").fetchone()
    assert row
    [first, *_] = statuses(taskq)
    assert first == {
        "version": 1,
        "name": "0001_pre_tables.sql",
        "phase": "pre",
        "state": "applied",
        "applied_at": row[0].isoformat().replace("+00:00", "Z"),
    }


def test_status_tells_what_is_pending_edited_and_unknown(
    taskq: Taskq, newer: str, connection: psycopg.Connection, bare_url: str
) -> None:
    assert statuses(taskq)[-1] | {"applied_at": None} == {
        "version": 99,
        "name": newer,
        "phase": "post",
        "state": "unknown",
        "applied_at": None,
    }
    connection.execute("UPDATE taskq_migrations SET checksum = 'x' WHERE version = 1")
    assert statuses(taskq)[0]["state"] == "edited"
    done = taskq("schema", "status", "--database", bare_url)
    assert {line.split()[2] for line in done.stdout.splitlines()[2:]} == {"pending"}


# check


def test_check_succeeds_where_this_version_runs_and_fails_where_it_does_not(
    taskq: Taskq, bare_url: str
) -> None:
    done = ended("schema", "check")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "this version of taskq runs on the database\n"
    done = ended("schema", "check", "--database", bare_url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "Error: the database has not the schema that this version of taskq"
    )
    assert "run python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("schema", "check"),
        ("schema", "apply"),
        ("schema", "sql"),
        ("schema", "remove", "--yes"),
        ("worker", "--app", SHOP, "--no-wait"),
    ],
    ids=" ".join,
)
def test_a_database_of_a_newer_version_is_one_line(newer: str, arguments: tuple[str, ...]) -> None:
    done = ended(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"Error: the database has '{newer}', which this version of taskq does not know: it was migrated "
        "for a newer one; install that (pip install --upgrade taskq-sql)\n"
    )


def test_what_was_edited_is_one_line(taskq: Taskq, connection: psycopg.Connection) -> None:
    connection.execute("UPDATE taskq_migrations SET checksum = 'x' WHERE version = 1")
    done = taskq("schema", "check")
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "Error: the database has a migration 1 that is not 0001_pre_tables.sql"
    )
    assert done.stderr.count("\n") == 1


# sql, path


def test_psql_runs_what_sql_prints_as_it_is(bare_url: str) -> None:
    printed = ended("schema", "sql", "--database", bare_url)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert FIRST.sql.decode() in printed.stdout
    assert FIRST.checksum in printed.stdout
    run_psql(bare_url, printed.stdout)
    assert ended("schema", "check", "--database", bare_url).returncode == 0
    again = ended("schema", "sql", "--database", bare_url)
    assert again.stdout == "-- nothing to do: the database has it already\n"
    run_psql(bare_url, again.stdout)


def test_path_is_the_folder_of_the_migrations() -> None:
    done = ended("schema", "path")
    assert (done.returncode, done.stderr) == (0, "")
    assert (Path(done.stdout.strip()) / FIRST.name).read_bytes() == FIRST.sql


# grants


def test_psql_runs_the_grants_as_they_are_printed(
    connection: psycopg.Connection, bare_url: str
) -> None:
    ended("schema", "apply", "--database", bare_url)
    role = f'web "{connection.info.dbname}"; --'
    quoted = role.replace('"', '""')
    connection.execute(f'CREATE ROLE "{quoted}"'.encode())
    try:
        arguments = ("--role", role, "--as", "deferrer", "--database", bare_url)
        done = ended("schema", "grants", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert f'TO "{quoted}";' in done.stdout
        run_psql(bare_url, done.stdout)
        may = "SELECT has_any_column_privilege(%s, 'bare.taskq_jobs', %s)"
        asked = [connection.execute(may, [role, kind]).fetchone() for kind in ("INSERT", "UPDATE")]
        assert asked == [(True,), (False,)]
    finally:
        connection.execute(f'DROP OWNED BY "{quoted}"; DROP ROLE "{quoted}"'.encode())


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (("--role", "web"), 2, "Missing option '--as'"),
        (("--as", "worker"), 2, "Missing option '--role'"),
        (
            ("--role", "web", "--as", "admin"),
            2,
            "'admin' is not one of 'deferrer', 'worker', 'observer'",
        ),
        (("--role", "", "--as", "worker"), 2, "is no name of a role"),
    ],
)
def test_grants_to_whom_and_for_what_has_to_make_sense(
    taskq: Taskq, arguments: tuple[str, ...], exit_code: int, said: str
) -> None:
    done = taskq("schema", "grants", *arguments)
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_can_be_granted_on_what_is_not_there(taskq: Taskq, bare_url: str) -> None:
    done = taskq("schema", "grants", "--role", "a", "--as", "worker", "--database", bare_url)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the namespace 'bare' has no schema of taskq" in done.stderr


# remove


def test_remove_asks_first_and_says_what_would_be_lost(
    connection: psycopg.Connection, taskq: Taskq
) -> None:
    taskq("defer", "--app", SHOP, "add", '{"a": 1}')
    asked = (
        "Jobs that have not ended: 1. Workers: 0. Drop taskq's schema, with all jobs, from the namespace "
        "'public' of <Database"
    )
    with on_terminal("schema", "remove") as terminal:
        text = terminal.until(r"\[y/N\]")
        terminal.type("n\r")
        assert "Aborted!" in terminal.rest()
    assert asked in text
    assert "***" in text, "the database is named, and not the password"
    assert connection.execute("SELECT count(*) FROM taskq_jobs").fetchone() == (1,)

    with on_terminal("schema", "remove") as terminal:
        terminal.until(r"\[y/N\]")
        terminal.type("y\r")
        assert "removed" in terminal.rest()
    assert connection.execute("SELECT to_regclass('taskq_jobs')").fetchone() == (None,)


def test_remove_refuses_where_no_user_can_answer(connection: psycopg.Connection) -> None:
    with process("schema", "remove", stdin=subprocess.DEVNULL) as started:
        _, said = started.communicate(timeout=60)
    assert (said.count("\n"), started.returncode) == (1, 2)
    assert "nobody can answer here: say --yes" in said
    assert connection.execute("SELECT to_regclass('taskq_jobs')").fetchone() == ("taskq_jobs",)


def test_remove_need_not_ask(bare_url: str) -> None:
    ended("schema", "apply", "--database", bare_url)
    first, second = (ended("schema", "remove", "--yes", "--database", bare_url) for _ in range(2))
    assert (first.returncode, first.stdout, first.stderr) == (0, "removed\n", "")
    assert second.stdout == "nothing to do: the database has no schema of taskq\n"
    assert second.returncode == 0


# What all of them have in common


@pytest.mark.parametrize(
    "command",
    [
        ("apply",),
        ("status",),
        ("check",),
        ("sql",),
        ("grants", "--role", "a", "--as", "worker"),
        ("remove", "--yes"),
    ],
    ids=" ".join,
)
def test_a_database_or_a_namespace_that_is_not_there_is_one_line(
    taskq: Taskq, database_url: str, command: tuple[str, ...]
) -> None:
    done = taskq("schema", *command, "--database", "postgresql://me:secret@localhost:1/shop")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: the database does not answer")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.output

    done = taskq("schema", *command, "--database", f"{database_url}&options=-csearch_path%3Dnone")
    # check looks at what a worker would use, and does not mind where that is.
    assert done.exit_code == (1 if command == ("check",) else 2)
    assert ("CREATE SCHEMA none" in done.stderr) == (command != ("check",))
    assert done.stderr.count("\n") == 1
