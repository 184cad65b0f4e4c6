"""The commands about the schema."""

from taskq.schema import read_migrations
from tests.cli.conftest import SHOP, Taskq, ended

NOTHING = "nothing to do: the database has the whole schema already\n"


def test_apply_says_what_it_applied_and_then_that_there_is_nothing_to_do(bare_url: str) -> None:
    first, second = (ended("schema", "apply", "--database", bare_url) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "".join(f"applied {step.name}\n" for step in read_migrations())
    assert (second.returncode, second.stdout) == (0, NOTHING)


def test_without_an_app_the_environment_names_the_database(taskq: Taskq, bare_url: str) -> None:
    done = taskq("schema", "apply", env={"TASKQ_DATABASE_URL": bare_url})
    assert "applied 0001_pre_initial.sql" in done.stdout


def test_an_app_names_the_database(taskq: Taskq) -> None:
    done = taskq("schema", "apply", "--app", SHOP)
    assert (done.exit_code, done.stdout) == (0, NOTHING)


def test_a_database_that_is_named_wins_over_the_app(taskq: Taskq, bare_url: str) -> None:
    done = taskq("schema", "apply", "--app", "nowhere:app", "--database", bare_url)
    assert done.exit_code == 0


def test_a_database_that_is_not_there_is_one_line_without_its_password(taskq: Taskq) -> None:
    url = "postgresql://me:secret@localhost:1/shop"
    done = taskq("schema", "apply", "--database", url)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: the database does not answer")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.output
