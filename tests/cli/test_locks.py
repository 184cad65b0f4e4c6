"""The command that lists locks."""

import json

import psycopg

from tests.cli.conftest import Taskq, ended


def crowd(connection: psycopg.Connection) -> None:
    """A lock that a job holds and another waits for, and one for which two wait."""
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status, lock, worker_id) VALUES "
        "('mail', 'add', '{}', 'doing', 'held', 1), ('mail', 'add', '{}', 'todo', 'held', NULL),"
        "('mail', 'add', '{}', 'todo', '\x1b[2J', NULL), ('mail', 'add', '{}', 'todo', '\x1b[2J', NULL)"
    )


def test_people_see_how_many_wait_and_who_holds_it(connection: psycopg.Connection) -> None:
    crowd(connection)
    done = ended("locks", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "lock      waiting   held by job",
        "───────────────────────────────",
        r"\x1b[2J         2",
        "held            1   1",
    ]


def test_json_has_the_same(taskq: Taskq, connection: psycopg.Connection) -> None:
    crowd(connection)
    [_, held] = json.loads(taskq("locks", "list", "--json").stdout)
    assert held == {"lock": "held", "held_by": 1, "waiting": 1}
    assert len(json.loads(taskq("locks", "list", "--json", "--limit", "1").stdout)) == 1


def test_without_locks_it_says_so(taskq: Taskq) -> None:
    assert taskq("locks", "list").stdout == "no job holds a lock or waits for one\n"
