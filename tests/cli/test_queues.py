"""The command that lists queues."""

import json

import psycopg

from taskq import JobManager
from tests.cli.conftest import Taskq, ended


def crowd(connection: psycopg.Connection) -> None:
    """Jobs in two queues, one of which a worker serves that is alive."""
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status, deferred_at, worker_id) VALUES "
        "('mail', 'add', '{}', 'todo', now() - interval '1 hour', NULL), "
        "('mail', 'add', '{}', 'todo', now(), NULL), ('mail', 'sub', '{}', 'failed', now(), NULL), "
        "('\x1b[2J', 'add', '{}', 'doing', now(), 1)"
    )
    connection.execute(
        "INSERT INTO taskq_workers (name, queue_names, last_heartbeat) VALUES "
        "('w', '{mail,other}', now()), ('dead', NULL, now() - interval '1 day')"
    )


def test_people_see_how_many_of_which_status(connection: psycopg.Connection) -> None:
    crowd(connection)
    done = ended("queues", "list")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "queue     todo   doing   succeeded   failed   cancelled   aborted   waited   workers",
        "────────────────────────────────────────────────────────────────────────────────────",
        r"\x1b[2J      0       1           0        0           0         0                  0",
        "mail         2       0           0        1           0         0   1h             1",
    ]


def test_json_has_the_same(taskq: Taskq, connection: psycopg.Connection) -> None:
    crowd(connection)
    strange, mail = json.loads(taskq("queues", "list", "--json").stdout)
    assert strange["name"] == "\x1b[2J"
    assert 3600 <= mail.pop("longest_wait_seconds") < 3700
    assert mail == {
        "name": "mail",
        "todo": 2,
        "doing": 0,
        "succeeded": 0,
        "failed": 1,
        "cancelled": 0,
        "aborted": 0,
        "estimated": [],
        "workers": 1,
        "pause": None,
    }


def test_when_a_worker_is_dead_can_be_said(taskq: Taskq, connection: psycopg.Connection) -> None:
    crowd(connection)
    queues = json.loads(taskq("queues", "list", "--json", "--stalled", "2d").stdout)
    assert [queue["workers"] for queue in queues] == [1, 2]


def test_without_jobs_it_says_so(taskq: Taskq) -> None:
    assert taskq("queues", "list").stdout == "there are no jobs\n"
    assert taskq("queues", "list", "--json").stdout == "[]\n"


def test_a_number_of_jobs_that_is_an_estimate_says_so(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    # A big table, if few rows make it so.
    connection.execute("ALTER TABLE taskq_jobs SET (fillfactor = 10)")
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status) "
        "SELECT 'mail', 'add', '{}', 'succeeded' FROM generate_series(1, 20000)"
    )
    [queue] = json.loads(taskq("queues", "list", "--json").stdout)
    assert queue["estimated"] == ["succeeded"]
    row = taskq("queues", "list").stdout.splitlines()[-1]
    assert row.split()[3].startswith("~")


def test_a_queue_is_paused_and_resumed_and_twice_says_so(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    crowd(connection)
    done = taskq("queues", "pause", "mail", "--by", "ada", "--reason", "the relay is down")
    assert done.stdout == "queue mail is paused: 2 jobs todo, 0 doing\n"
    again = taskq("queues", "pause", "mail", "--by", "grace")
    assert (again.exit_code, again.stdout) == (
        0,
        "queue mail was paused already, for 0s by ada: the relay is down\n",
    )
    assert (
        taskq("queues", "resume", "mail").stdout == "queue mail is resumed: 2 jobs todo, 0 doing\n"
    )
    assert taskq("queues", "resume", "mail").stdout == "queue mail was not paused\n"
    assert taskq("queues", "pause", "").exit_code == 2


def test_lists_show_what_is_paused_with_jobs_or_without(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    crowd(connection)
    connection.execute(
        "INSERT INTO taskq_pauses VALUES ('queue', 'mail', now() - interval '2 h', 'ada', 'relay'), "
        "('queue', 'empty', now() - interval '1 day', NULL, NULL)"
    )
    _, empty, mail = json.loads(taskq("queues", "list", "--json").stdout)
    assert (empty["name"], empty["todo"]) == ("empty", 0)
    assert (mail["pause"]["paused_by"], mail["pause"]["reason"]) == ("ada", "relay")
    for command in (["queues", "list"], ["watch", "--once", "--interval", "0.1"]):
        lines = [line.rstrip() for line in taskq(*command).stdout.splitlines()]
        assert any(line.startswith("empty") and line.endswith("for 1d") for line in lines)
        assert any(
            line.startswith("mail") and line.endswith("for 2h by ada: relay") for line in lines
        )


def test_a_task_of_the_same_name_that_is_paused_is_no_queue(
    taskq: Taskq, manager: JobManager
) -> None:
    manager.pause_task("mail", by="ada")
    assert json.loads(taskq("queues", "list", "--json").stdout) == []
    assert taskq("queues", "resume", "mail").stdout == "queue mail was not paused\n"
    manager.pause_queue("mail", by="grace")
    assert taskq("queues", "pause", "mail").stdout.endswith("already, for 0s by grace\n")
    [queue] = json.loads(taskq("queues", "list", "--json").stdout)
    assert queue["pause"]["paused_by"] == "grace"
