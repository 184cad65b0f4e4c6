"""What is listed fits on the terminal, whatever the names: a line is a row, and a row is a line."""

import re

import psycopg
import pytest
from rich.cells import cell_len

from taskq.cli.fitting import Texts, cut_in_the_middle, fit
from taskq.schema import read_migrations
from tests.cli.conftest import SHOP, OnATerminal, Taskq
from tests.cli.terminal import on_terminal

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


LISTS = [
    (["jobs", "list"], 20),
    (["jobs", "list", "-v"], 20),
    (["queues", "list"], 1),
    (["workers", "list"], 1),
    (["locks", "list"], 10),
    (["tasks", "list"], 7),
    (["tasks", "list", "--schema"], 7),
    (["periodic", "list"], 1),
    (["schema", "status"], len(read_migrations())),
]


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize(("command", "rows"), LISTS, ids=str)
def test_a_list_fits(on_a_terminal: OnATerminal, command: list[str], rows: int, width: int) -> None:
    shown, said = on_a_terminal(*command, env={"COLUMNS": str(width), "TASKQ_APP": SHOP})
    lines = shown.splitlines()
    assert len(lines) == rows + 2  # the heading, and the line below it
    assert max(map(cell_len, lines)) <= width
    if width >= 80 and "-v" not in command and "--schema" not in command:
        assert said == "", "no column is missing"


def test_the_queues_fit_with_jobs_of_every_status(
    on_a_terminal: OnATerminal, connection: psycopg.Connection
) -> None:
    connection.execute(
        "INSERT INTO taskq_jobs (queue_name, task_name, args, status, finished_at) "
        "SELECT %s, 'x', '{}', status::taskq_job_status, now() FROM generate_series(1, 1500), "
        "unnest('{succeeded,failed,cancelled,aborted}'::text[]) AS status",
        [NAME.format("queue", "queue")],
    )
    connection.execute(
        "DELETE FROM taskq_workers WHERE id NOT IN (SELECT worker_id FROM taskq_jobs)"
    )
    shown, said = on_a_terminal("queues", "list", env={"COLUMNS": "80"})
    assert shown.split("\n", 1)[0].split()[-2:] == ["waited", "workers"]
    assert max(map(cell_len, shown.splitlines())) <= 80
    assert said == ""


def test_what_is_being_watched_fits(on_a_terminal: OnATerminal) -> None:
    for width in (60, 80, 200):
        shown, _ = on_a_terminal(
            "watch", "--once", "--interval", "0.1", env={"COLUMNS": str(width)}
        )
        assert max(map(cell_len, shown.splitlines())) <= width
        assert len(shown.splitlines()) == 2 + 2 * (1 + 3)


def test_times_are_relative_and_exact_where_that_is_asked_for(taskq: Taskq) -> None:
    shown = taskq("jobs", "list", "--status", "doing", "--limit", "1")
    assert "3 min ago" in shown.stdout
    exact = taskq("jobs", "list", "--status", "doing", "--limit", "1", "-v")
    assert "ago" not in exact.stdout


def test_a_list_is_as_wide_as_the_terminal() -> None:
    with on_terminal("jobs", "list", "--limit", "5", columns=70) as terminal:
        lines = re.sub(r"\x1b\[[\d;]*m", "", terminal.rest()).splitlines()
    assert 60 < max(cell_len(line.rstrip()) for line in lines) <= 70
    assert len(lines) == 8  # and one that says that there are more


def test_a_name_is_cut_in_its_middle() -> None:
    assert cut_in_the_middle("shop.orders.send_mail", 11) == "shop.…_mail"
    assert cut_in_the_middle("漢字漢字漢字", 8) == "漢字…字"
    assert cut_in_the_middle("short", 5) == "short"


def test_names_are_cut_to_the_same_width() -> None:
    columns = [
        Texts(["", name * n], is_cut=True)
        for name, n in (("a", 50), ("b", 3), ("c", 50), ("d", 30))
    ]
    assert fit(columns, 69) == ([0, 1, 2, 3], 2)
    assert [column.width for column in columns] == [20, 3, 20, 20]


@pytest.mark.parametrize("environ", [{}, {"COLUMNS": "80"}, {"FORCE_COLOR": "1", "TERM": "dumb"}])
@pytest.mark.parametrize(("command", "rows"), LISTS, ids=str)
def test_where_there_is_no_terminal_nothing_is_cut(
    taskq: Taskq, environ: dict[str, str], command: list[str], rows: int
) -> None:
    done = taskq(*command, env={**environ, "TASKQ_APP": SHOP})
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == rows + 2
    assert "…" not in done.stdout
    if command[0] == "jobs":
        for whole in (
            *(NAME.format(what, what) for what in ("queue", "task", "lock")),
            "漢字 " * 50,
        ):
            assert whole in done.stdout


def test_what_is_being_watched_is_one_whole_frame_in_a_pipe(taskq: Taskq) -> None:
    done = taskq("watch", "--interval", "0.1", env={"COLUMNS": "80", "FORCE_COLOR": "1"})
    assert NAME.format("worker", "worker") in done.stdout
    assert "…" not in done.stdout
