"""The command that says whether a deployment can work at all."""

import psycopg
import pytest

from tests.cli.conftest import SHOP, Taskq, ended


def test_where_all_is_well_it_says_what_it_looked_at(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO taskq_workers (name) VALUES ('w')")
    done = ended("healthcheck", "--app", SHOP, "--workers", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "app: 7 tasks\ndatabase: answers\nschema: fits this version\nworkers: 1 alive\n"
    )


def test_it_needs_no_app(taskq: Taskq) -> None:
    done = taskq("healthcheck")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "app" not in done.stdout


def test_a_worker_that_is_dead_is_not_there(taskq: Taskq, connection: psycopg.Connection) -> None:
    connection.execute(
        "INSERT INTO taskq_workers (name, last_heartbeat) VALUES "
        "('alive', now()), ('dead', now() - interval '1 hour')"
    )
    assert taskq("healthcheck", "--workers", "1").exit_code == 0
    done = taskq("healthcheck", "--workers", "2")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: 1 worker is alive, and 2 have to be: ")
    assert done.stderr.count("\n") == 1
    assert taskq("healthcheck", "--workers", "2", "--stalled", "2h").exit_code == 0


def test_a_schema_that_is_missing_or_too_new_is_a_failure(
    taskq: Taskq, connection: psycopg.Connection, bare_url: str
) -> None:
    done = taskq("healthcheck", env={"TASKQ_DATABASE_URL": bare_url})
    assert (done.exit_code, done.stdout) == (1, "")
    assert "python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("app", "url", "exit_code", "said"),
    [
        ("nowhere:app", "", 2, "no app can be imported"),
        (SHOP, "postgresql://me:secret@localhost:1/shop", 1, "the database does not answer"),
    ],
)
def test_what_is_wrong_is_one_line(
    taskq: Taskq, app: str, url: str, exit_code: int, said: str
) -> None:
    done = taskq("healthcheck", "--app", app, env={"TASKQ_DATABASE_URL": url} if url else {})
    assert done.exit_code == exit_code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.output
