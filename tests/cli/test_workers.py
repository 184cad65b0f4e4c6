"""The command that lists workers."""

import json
from datetime import datetime

import psycopg

from tests.cli.conftest import Taskq, ended


def crowd(connection: psycopg.Connection) -> None:
    """A worker that is alive and has a job in hand, and one that is dead."""
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, started_at, last_heartbeat) VALUES "
        "(1, 'w', '{mail,other}', '2025-01-02T03:04:05Z', now()),"
        "(2, 'dead\x1b[2J', NULL, '2025-01-02T03:04:05Z', now() - interval '1 day')"
    )
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status, worker_id) VALUES "
        "('mail', 'add', '{}', 'doing', 1), ('mail', 'add', '{}', 'succeeded', 1)"
    )


def test_people_see_what_each_serves_and_whether_it_is_alive(
    connection: psycopg.Connection,
) -> None:
    crowd(connection)
    done = ended("workers", "list", "-v")
    assert (done.returncode, done.stderr) == (0, "")
    at = datetime.fromisoformat("2025-01-02T03:04:05Z").astimezone()
    started = at.isoformat(sep=" ", timespec="seconds")
    heading, _, alive, dead = (" ".join(line.split()) for line in done.stdout.splitlines())
    assert heading == "id name queues in hand started heartbeat"
    assert alive.startswith(f"1 w mail, other 1 {started} ")
    assert alive.endswith("s ago")
    assert dead == rf"2 dead\x1b[2J all 0 {started} 1d ago: dead"


def test_json_has_the_same(taskq: Taskq, connection: psycopg.Connection) -> None:
    crowd(connection)
    alive, dead = json.loads(taskq("workers", "list", "--json").stdout)
    assert 0 <= alive.pop("seconds_since_heartbeat") < 30
    assert datetime.fromisoformat(alive.pop("last_heartbeat")).tzinfo
    assert alive == {
        "id": 1,
        "name": "w",
        "queues": ["mail", "other"],
        "concurrency": 1,
        "host": None,
        "version": None,
        "stopping": False,
        "started_at": "2025-01-02T03:04:05Z",
        "doing": 1,
        "is_alive": True,
    }
    assert (dead["queues"], dead["is_alive"]) == (None, False)


def test_without_workers_it_says_so(taskq: Taskq) -> None:
    assert taskq("workers", "list").stdout == "no worker is running\n"
    assert taskq("workers", "list", "--json").stdout == "[]\n"
