"""``taskq events``."""

import json
import re

import psycopg
import pytest

from tests.cli.conftest import SHOP, Taskq, ended


@pytest.fixture(autouse=True)
def subscriptions(connection: psycopg.Connection) -> None:
    """Those of two events, one of them with a name that could steer a terminal."""
    connection.execute(
        "INSERT INTO taskq_subscriptions VALUES "
        "('order.paid', 'bill', 'bills', "
        """'{"priority": 3, "metadata": {"event": "order.paid"}}', NULL, 'w'), """
        "('order.paid', 'thank', 'mail', '{}', NULL, 'w'), "
        "('\x1b[2J', 'thank', 'mail', '{}', NULL, NULL)"
    )


def test_people_see_who_gets_what() -> None:
    done = ended("events", "list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.split(" {2,}", line.rstrip()) for line in done.stdout.splitlines()]
    assert lines[0] == ["event", "task", "queue", "other options", "declared by", "declared"]
    assert [line[:3] for line in lines[2:]] == [
        [r"\x1b[2J", "thank", "mail"],
        ["order.paid", "bill", "bills"],
        ["order.paid", "thank", "mail"],
    ]
    assert lines[3][3:5] == ['{"priority": 3}', "w"]
    assert re.fullmatch(r"now|\d+ s ago", lines[3][5])


def test_json_has_the_same_and_of_one_event_alone(taskq: Taskq) -> None:
    bill, thank = json.loads(taskq("events", "list", "order.paid", "--json").stdout)
    assert bill.pop("declared_at")
    assert bill == {
        "event": "order.paid",
        "task_name": "bill",
        "queue": "bills",
        "options": {"priority": 3, "metadata": {"event": "order.paid"}},
        "declared_by": "w",
    }
    assert thank["task_name"] == "thank"


def test_without_any_it_says_so(taskq: Taskq, connection: psycopg.Connection) -> None:
    assert taskq("events", "list", "\x1b").stdout == (
        "no task subscribes to \\x1b: a worker declares those of its app when it starts\n"
    )
    connection.execute("TRUNCATE taskq_subscriptions")
    assert taskq("events", "list").stdout.startswith("no task subscribes: ")
    assert taskq("events", "list", "x" * 501).exit_code == 2


def test_a_subscription_is_removed_and_what_was_none_is_said(taskq: Taskq) -> None:
    done = taskq("events", "remove", "order.paid", "bill")
    assert (done.exit_code, done.stdout) == (0, "task bill gets no more jobs of order.paid\n")
    again = taskq("events", "remove", "order.paid", "bill")
    assert (again.exit_code, again.stdout) == (
        0,
        "task bill does not subscribe to order.paid; these do: thank\n",
    )
    assert taskq("events", "remove", "order.lost", "bill").stdout.endswith("; no task does\n")
    assert taskq("events", "remove", "", "bill").exit_code == 2


def test_what_the_app_still_has_comes_back_and_that_is_said(taskq: Taskq) -> None:
    worker = ("worker", "--app", SHOP, "--no-wait")
    assert taskq(*worker).exit_code == 0
    assert "shout" in taskq("events", "list", "heard").stdout
    done = taskq("events", "remove", "heard", "shout", "--app", SHOP)
    assert done.stdout == "task shout gets no more jobs of heard\n"
    assert done.stderr == "the app still has it, and its next worker declares it again\n"
    assert "shout" not in taskq("events", "list", "heard").stdout
    assert taskq(*worker).exit_code == 0
    assert "shout" in taskq("events", "list", "heard").stdout


def test_options_that_cannot_be_read_hide_no_other_subscription(
    taskq: Taskq, connection: psycopg.Connection
) -> None:
    connection.execute(
        "UPDATE taskq_subscriptions SET options = jsonb_build_object('n', 1e5000) WHERE task_name = 'bill'"
    )
    said = taskq("events", "list", "order.paid")
    assert said.exit_code == 0
    assert "unreadable: " in said.stdout
    bill, thank = json.loads(taskq("events", "list", "order.paid", "--json").stdout)
    assert set(bill["options"]) == {"unreadable", "reason"}
    assert thank["options"] == {}
