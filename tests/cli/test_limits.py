"""The commands on limits."""

import json
import re
from typing import Any

import psycopg
import pytest

from taskq import JobManager
from tests.cli.conftest import SHOP, Taskq, ended


@pytest.fixture(autouse=True)
def limits(connection: psycopg.Connection) -> None:
    """A limit by keys, in which a job runs and two wait, one of a queue, and one that is not declared."""
    connection.execute(
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency, rate, per, burst, declared_by) "
        "VALUES "
        "('tenant', false, 1, NULL, NULL, NULL, 'w'), ('bank', false, NULL, 100, 60, 10, 'w')"
    )
    connection.execute("INSERT INTO taskq_queue_limits VALUES ('pay', 'bank', 'w')")
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status, worker_id, limit_key) VALUES "
        "('mail', 'add', '{}', 'doing', 1, 'tenant:acme'), "
        "('mail', 'add', '{}', 'todo', NULL, 'tenant:acme'), "
        "('mail', 'add', '{}', 'todo', NULL, 'tenant:acme'), "
        "('mail', 'add', '{}', 'todo', NULL, '\x1b[2J')"
    )


def listed(taskq: Taskq, *words: str) -> list[dict[str, Any]]:
    done = taskq("limits", "list", *words, "--json")
    assert done.exit_code == 0, done.output
    states: list[dict[str, Any]] = json.loads(done.stdout)
    return states


def test_people_see_what_they_allow_how_full_they_are_and_who_declared_them() -> None:
    done = ended("limits", "list")
    assert (done.returncode, done.stderr) == (0, "")
    # By column; what is empty is left out.
    assert [re.split(" {2,}", line.rstrip()) for line in done.stdout.splitlines()] == [
        [
            *("limit", "key", "allows", "running", "room", "waiting", "next start"),
            *("queues", "declared by"),
        ],
        ["─" * 112],
        [r"\x1b[2J", "nothing: not declared", "0", "0", "1"],
        ["bank", "100 per 60 s, 10 of them at once", "0", "10", "0", "pay", "w"],
        ["tenant", "1 at once", "0", "1", "0", "w"],
        ["tenant", "acme", "1 at once", "1", "0", "2", "w"],
    ]


def test_json_has_the_same(taskq: Taskq) -> None:
    strange, bank, _, acme = listed(taskq)
    assert (strange["name"], strange["figures"], strange["declared_by"]) == ("\x1b[2J", None, None)
    assert bank == {
        "name": "bank",
        "key": None,
        "figures": {"concurrency": None, "rate": 100, "per": 60.0, "burst": 10},
        "by_operator": False,
        "declared_by": "w",
        "queues": ["pay"],
        "running": 0,
        "room": 10,
        "waiting": 0,
        "next_at": None,
    }
    assert (acme["key"], acme["running"], acme["room"], acme["waiting"]) == ("acme", 1, 0, 2)
    assert [state["key"] for state in listed(taskq, "tenant")] == [None, "acme"]
    assert len(listed(taskq, "--limit", "2")) == 2


def test_without_limits_it_says_so(taskq: Taskq, connection: psycopg.Connection) -> None:
    connection.execute("TRUNCATE taskq_limits, taskq_queue_limits, taskq_jobs CASCADE")
    assert taskq("limits", "list").stdout.startswith("there are no limits: ")
    assert "no app has declared any" in taskq("limits", "list", "tenant").stderr


def test_an_operator_has_the_last_word_until_that_is_taken_back(taskq: Taskq) -> None:
    done = taskq("limits", "set", "tenant", "--concurrency", "5", "--by", "ada")
    assert (done.exit_code, done.stdout) == (0, "limit tenant allows 5 at once\n")
    done = taskq(
        "limits", "set", "tenant", "--key", "acme", "--rate", "100", "--per", "1m", "--burst", "2"
    )
    assert done.stdout == (
        "limit tenant, key acme, allows 5 at once, 100 per 60 s, 2 of them at once\n"
    )
    whole, acme = listed(taskq, "tenant")
    assert (whole["by_operator"], whole["declared_by"]) == (True, "ada")
    # Of the key it is not known who says so.
    assert (acme["by_operator"], acme["declared_by"]) == (True, None)
    assert "an operator" in taskq("limits", "list", "tenant").stdout
    done = taskq("limits", "unset", "tenant", "--key", "acme")
    assert done.stdout == "limit tenant, key acme, allows 5 at once\n"
    assert taskq("limits", "unset", "tenant").stdout == "limit tenant allows 1 at once\n"
    again = taskq("limits", "unset", "tenant")
    assert (again.exit_code, again.stdout.splitlines()) == (
        0,
        ["no operator has said anything of limit tenant", "limit tenant allows 1 at once"],
    )
    assert {state["declared_by"] for state in listed(taskq, "tenant")} == {"w"}


def test_a_limit_of_the_app_is_set_before_a_worker_has_declared_it(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    connection.execute("TRUNCATE taskq_limits")
    words = ("limits", "set", "tenant", "--key", "acme", "--concurrency", "3")
    assert taskq(*words).exit_code == 2
    assert taskq(*words, "--app", SHOP).stdout == "limit tenant, key acme, allows 3 at once\n"
    [acme] = listed(taskq, "tenant")
    assert acme["figures"]["concurrency"] == 3


def test_the_limit_of_a_queue_is_taken_away(taskq: Taskq, manager: JobManager) -> None:
    again = taskq("limits", "unset-queue", "mail")
    assert (again.exit_code, again.stdout) == (0, "queue mail had no limit; these have: pay\n")
    done = taskq("limits", "unset-queue", "pay")
    assert done.stdout == "the jobs of queue pay count in no limit but their own\n"
    assert all(state.queues == () for state in manager.list_limits())
    assert taskq("limits", "unset-queue", "pay").stdout == "queue pay had no limit\n"
    assert taskq("limits", "unset-queue", "").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "tennant"], "there is no limit 'tennant': there are "),
        (["unset", "tennant"], "'bank', 'tenant'"),
        (["set", "tennant", "--concurrency", "1"], "there are 'bank', 'tenant'"),
        (["set", "tenant"], "what does it allow?"),
        (["set", "tenant", "--by", "ada"], "what does it allow?"),
        (["set", "tenant", "--concurrency", "0"], "0 is not in the range"),
        (["set", "tenant", "--rate", "5"], "--rate and --per are given together"),
        (["set", "tenant", "--per", "5"], "--rate and --per are given together"),
        (["set", "tenant", "--rate", "5", "--per", "0"], "per="),
        (["set", "tenant", "--concurrency", "5", "--burst", "2"], "without a rate"),
        (["set", "tenant", "--concurrency", "5", "--key", "k" * 500], "is too long"),
        (["set", "tenant", "--concurrency", "5", "--by", ""], "by=''"),
        (["set", "a:b", "--concurrency", "5"], "no colon"),
        (["list", "a:b"], "no colon"),
        (["unset", "a:b"], "no colon"),
        (["list", "--limit", "0"], "0 is not in the range"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    taskq: Taskq, manager: JobManager, words: list[str], said: str
) -> None:
    done = taskq("limits", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert said in line
    assert not any(state.by_operator for state in manager.list_limits())
