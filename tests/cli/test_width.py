"""What is listed fits on the terminal, whatever the names: a line is a row, and a row is a line."""

import psycopg
import pytest
from rich.cells import cell_len

from taskq.cli.fitting import cut_in_the_middle
from tests.cli.conftest import SHOP, Taskq

NAME = "{}_shop.orders.fulfilment.notifications.send_confirmation_of_the_{}_for_a_customer"


@pytest.fixture(autouse=True)
def long_names(connection: psycopg.Connection) -> None:
    queue, task, lock = (NAME.format(what, what) for what in ("queue", "task", "lock"))
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, started_at) "
        "VALUES (3420058640476715, %s, ARRAY[%s, 'mail'], now() - interval '3 days')",
        [NAME.format("worker", "worker"), queue],
    )
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, lock, status, worker_id, started_at) "
        "SELECT %s, %s, jsonb_build_object('text', repeat('漢字 ', 50)), %s || i / 2, "
        "CASE WHEN i %% 2 = 0 THEN 'doing' ELSE 'todo' END::taskq_job_status, "
        "CASE WHEN i %% 2 = 0 THEN 3420058640476715 END, now() - interval '3 minutes 5 seconds' "
        "FROM generate_series(0, 19) AS i",
        [queue, task, lock],
    )


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(
    ("command", "rows"),
    [
        (["jobs", "list"], 20),
        (["jobs", "list", "-v"], 20),
        (["queues", "list"], 1),
        (["workers", "list"], 1),
        (["locks", "list"], 10),
        (["tasks", "list"], 6),
        (["tasks", "list", "--schema"], 6),
        (["periodic", "list"], 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_list_fits(taskq: Taskq, command: list[str], rows: int, width: int) -> None:
    done = taskq(*command, env={"COLUMNS": str(width), "TASKQ_APP": SHOP})
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == rows + 2  # the heading, and the line below it
    assert max(map(cell_len, lines)) <= width
    if width >= 80 and "-v" not in command and "--schema" not in command:
        assert done.stderr == "", "no column is missing"


def test_what_is_being_watched_fits(taskq: Taskq) -> None:
    for width in (60, 80, 200):
        done = taskq("watch", "--interval", "0.1", env={"COLUMNS": str(width)})
        assert max(map(cell_len, done.stdout.splitlines())) <= width
        assert len(done.stdout.splitlines()) == 2 + 2 * (1 + 3)


def test_times_are_relative_and_exact_where_that_is_asked_for(taskq: Taskq) -> None:
    shown = taskq("jobs", "list", "--status", "doing", "--limit", "1", env={"COLUMNS": "80"})
    assert "3 min ago" in shown.stdout
    exact = taskq("jobs", "list", "--status", "doing", "--limit", "1", "-v")
    assert "ago" not in exact.stdout


def test_a_name_is_cut_in_its_middle() -> None:
    assert cut_in_the_middle("shop.orders.send_mail", 11) == "shop.…_mail"
    assert cut_in_the_middle("漢字漢字漢字", 8) == "漢字…字"
    assert cut_in_the_middle("short", 5) == "short"


def test_where_there_is_no_terminal_nothing_is_cut(taskq: Taskq) -> None:
    assert NAME.format("task", "task") in taskq("jobs", "list").stdout
