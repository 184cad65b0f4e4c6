"""The command that lists periodic tasks."""

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest

from tests.cli.conftest import SHOP, Taskq, ended

TICK = 1_704_076_200  # half past three in Berlin


def next_tick() -> datetime:
    """The next first of January, half past three in Berlin."""
    now = datetime.now(ZoneInfo("Europe/Berlin"))
    tick = now.replace(month=1, day=1, hour=3, minute=30, second=0, microsecond=0)
    return tick if tick > now else tick.replace(year=now.year + 1)


def test_people_see_the_next_tick_and_the_last(connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO taskq_periodic VALUES ('sweep', '', %s)", [TICK])
    done = ended("periodic", "list", "--app", SHOP, "-v")
    assert (done.returncode, done.stderr) == (0, "")
    heading, _, row = done.stdout.splitlines()
    assert " ".join(heading.split()) == "task cron time zone periodic id next last deferred"
    following, last = (
        moment.astimezone().isoformat(sep=" ", timespec="seconds")
        for moment in (next_tick(), datetime.fromtimestamp(TICK, UTC))
    )
    assert " ".join(row.split()) == f"sweep 30 3 1 1 * Europe/Berlin {following} {last}"


@pytest.mark.parametrize("is_known", [False, True])
def test_people_see_what_was_never_deferred(
    connection: psycopg.Connection, taskq: Taskq, is_known: bool
) -> None:
    if is_known:
        connection.execute(
            "INSERT INTO taskq_periodic (task_name, periodic_id) VALUES ('sweep', '')"
        )
    [_, _, row] = taskq("periodic", "list", "--app", SHOP).stdout.splitlines()
    assert row.split()[-1] == "never"
    [period] = json.loads(taskq("periodic", "list", "--app", SHOP, "--json").stdout)
    assert period["last_at"] is None


def test_json_has_the_same(taskq: Taskq) -> None:
    [period] = json.loads(taskq("periodic", "list", "--app", SHOP, "--json").stdout)
    assert datetime.fromisoformat(period.pop("next_at")) - next_tick() == timedelta(0)
    assert period == {
        "task": "sweep",
        "cron": "30 3 1 1 *",
        "timezone": "Europe/Berlin",
        "periodic_id": "",
        "last_at": None,
    }


@pytest.mark.usefixtures("late_clock")
def test_the_next_tick_is_next_by_the_servers_clock(taskq: Taskq) -> None:
    [period] = json.loads(taskq("periodic", "list", "--app", SHOP, "--json").stdout)
    assert datetime.fromisoformat(period["next_at"]) == next_tick()


def test_an_app_without_any_says_how_to_have_one(taskq: Taskq) -> None:
    done = taskq("periodic", "list", "--app", "tests.cli.empty_shop:app")
    assert done.exit_code == 0
    assert "@app.periodic" in done.stdout


def test_it_needs_the_schema(taskq: Taskq, bare_url: str) -> None:
    done = taskq("periodic", "list", "--app", SHOP, env={"TASKQ_DATABASE_URL": bare_url})
    assert done.exit_code == 1
    assert "python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1
