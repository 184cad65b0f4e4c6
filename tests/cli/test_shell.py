"""The prompt, on a terminal and with commands piped into it."""

import os

import pytest
from click.testing import CliRunner, Result

from taskq import JobManager
from taskq.cli.program import program
from tests.cli.conftest import SHOP
from tests.cli.terminal import on_terminal


def piped(*lines: str, app: str = SHOP) -> Result:
    return CliRunner().invoke(program, ["shell", "--app", app], input="\n".join(lines))


def test_on_a_terminal_it_prompts_completes_and_ends_with_exit(manager: JobManager) -> None:
    with on_terminal("shell", "--app", SHOP) as terminal:
        terminal.until("taskq> ")
        terminal.type("def\tad\t'{\"a\": 1}'\n")
        assert "defer add '" in terminal.until(r"\n1\r\ntaskq> ")
        terminal.type("wrok\n")
        assert "Did you mean 'worker'?" in terminal.until("taskq> ")
        terminal.type("defer ")
        terminal.until("defer ")
        terminal.interrupt()  # drops the line
        terminal.until("taskq> ")
        terminal.type("help defer\n")
        assert "--queueing-lock" in terminal.until("taskq> ")
        terminal.type("exit\n")
        terminal.rest()
    assert manager.get_job(1).task_kwargs == {"a": 1}


def test_ctrl_d_ends_it() -> None:
    with on_terminal("shell") as terminal:
        terminal.until("taskq> ")
        terminal.type("\x04")
        terminal.rest()


def test_what_is_piped_into_it_is_run_line_by_line(manager: JobManager) -> None:
    done = piped(
        "# two jobs", "", """defer add '{"a": 1}'""", """defer add '{"a": 2}'  # the second"""
    )
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1\n2\n", "")
    assert [manager.get_job(n).task_kwargs["a"] for n in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "exit_code", "said"),
    [
        ("wrok", 2, "Did you mean 'worker'? (--help shows how)"),
        ("defer add", 2, "argument 'a' is missing"),
        ("defer 'add", 2, "is no command line: No closing quotation"),
        ("defer add '{\"a\": 1}' --queueing-lock taken", 1, "waits already"),
    ],
)
def test_the_first_command_that_fails_ends_it_with_its_exit_code(
    manager: JobManager, line: str, exit_code: int, said: str
) -> None:
    done = piped("defer add '{\"a\": 0}' --queueing-lock taken", line, """defer add '{"a": 2}'""")
    assert (done.exit_code, done.stdout) == (exit_code, "1\n")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert sum(manager.count_jobs().values()) == 1


def test_what_a_line_says_is_that_lines_alone() -> None:
    done = piped("tasks list --app tests.cli.empty_shop:app --json", "tasks list --json", app=SHOP)
    empty, *full = done.stdout.splitlines()
    assert empty == "[]"
    assert len(full) > 2


def test_a_database_that_a_command_names_is_that_commands_alone(
    database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("empty")
    before = dict(os.environ)
    assert piped(f"demo {folder} --database '{database_url}'").exit_code == 0
    assert dict(os.environ) == before
