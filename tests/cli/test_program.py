"""What all commands have in common."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner

from taskq import JobManager, SchemaManager
from taskq.cli.program import program
from taskq.database.database import Database
from taskq.job import NewJob
from taskq.worker.options import ENVIRONMENT_PREFIX, WorkerOptions
from tests.cli.conftest import SHOP, Taskq, ended


def commands(group: click.Group = program, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


def test_the_version_is_that_of_the_package() -> None:
    done = ended("--version")
    assert (done.returncode, done.stdout) == (0, f"taskq {version('taskq-sql')}\n")


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_each_help_teaches_by_one_example(path: tuple[str, ...]) -> None:
    done = CliRunner().invoke(program, [*path, "--help"])
    assert done.exit_code == 0
    assert done.stdout.count(f"\n    python -m taskq {' '.join(path)} ") == 1


@pytest.mark.parametrize("name", ["--app", "--database", "neither"])
@pytest.mark.parametrize("arguments", [["locks", "list"], ["jobs", "show", "1"]], ids=" ".join)
def test_a_command_opens_one_database_and_closes_it_also_when_it_fails(
    name: str,
    arguments: list[str],
    taskq: Taskq,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Database] = []
    close = Database.close

    def close_and_note(database: Database) -> None:
        closed.append(database)
        close(database)

    monkeypatch.setattr(Database, "close", close_and_note)
    named = {"--app": ["--app", SHOP], "--database": ["--database", database_url]}
    done = taskq(*arguments, *named.get(name, []))
    assert done.exit_code == (1 if "show" in arguments else 0)
    assert len(closed) == 1


@pytest.mark.parametrize("path", [(), *commands()], ids=" ".join)
def test_each_option_is_an_environment_variable(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    command: click.Command = program
    context = click.Context(program, info_name="taskq", auto_envvar_prefix="TASKQ")
    for part in path:
        assert isinstance(command, click.Group)
        command = command.commands[part]
        context = click.Context(command, info_name=part, parent=context)
    options = [
        option
        for option in command.params
        if isinstance(option, click.Option) and option.opts[-1] != "--version"
    ]
    assert options
    for option in options:
        name = option.opts[-1].removeprefix("--").replace("-", "_")
        words = ["taskq", name] if name in {"app", "verbose"} else ["taskq", *path, name]
        variable = "_".join(words).replace("-", "_").upper()
        if name in WorkerOptions.model_fields and path == ("worker",):
            # It is read there, by its prefix.
            assert variable == f"{ENVIRONMENT_PREFIX}{name}".upper()
        else:
            monkeypatch.setenv(variable, "by variable")
            assert option.resolve_envvar_value(context) == "by variable", variable


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere:app", "No module named 'nowhere'"),
        ("tests.cli.shop:ap", "has no attribute 'ap'"),
        ("tests.cli.shop:no_app", "is of the type str, and not an app"),
        ("shop", "no app can be imported from 'shop'"),
        (":app", "no app can be imported from ':app'"),
        ("..:app", "no app can be imported from '..:app'"),
    ],
)
def test_a_path_to_no_app_is_refused(taskq: Taskq, path: str, said: str) -> None:
    done = taskq("worker", "--app", path)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_without_an_app_it_says_how_to_name_one(taskq: Taskq) -> None:
    done = taskq("worker")
    assert done.exit_code == 2
    assert "--app" in done.stderr
    assert "TASKQ_APP" in done.stderr


def test_an_app_may_be_named_before_the_command_after_it_or_in_the_environment(
    taskq: Taskq,
) -> None:
    dotted = SHOP.replace(":", ".")
    for arguments, variable in (
        (("--app", SHOP, "defer", "add"), "nowhere:app"),
        (("--app", "nowhere:app", "defer", "add", "--app", dotted), "nowhere:app"),
        (("defer", "add"), SHOP),
    ):
        done = taskq(*arguments, '{"a": 1}', env={"TASKQ_APP": variable})
        assert (done.exit_code, done.stderr) == (0, "")


def test_an_app_in_the_working_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "corner_shop.py").write_text("from taskq import App\n\napp = App()\n")
    done = ended("worker", "--app", "corner_shop:app", "--no-wait", cwd=tmp_path)
    assert done.returncode == 0
    assert "has stopped" in done.stderr


def test_a_module_that_fails_is_one_line_and_with_v_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "broken_shop.py").write_text("raise RuntimeError('no\\nstock')\n")
    done = ended("worker", "--app", "broken_shop:app", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "Error: the app 'broken_shop:app' cannot be imported: its module raises "
        "RuntimeError: no\\nstock; mend that (-v shows where)\n"
    )
    done = ended("worker", "--app", "broken_shop:app", "-v", cwd=tmp_path)
    assert done.returncode == 2
    assert "raise RuntimeError" in done.stderr


@pytest.mark.parametrize(
    ("url", "exit_code", "said"),
    [
        ("postgresql://me:secret@localhost:1/shop", 1, "the database does not answer"),
        ("mysql://me:secret@localhost/shop", 2, "taskq needs postgresql"),
        ("postgresql://me:se@cret@localhost/shop", 2, "is not a URL"),
    ],
)
@pytest.mark.parametrize(
    "arguments", [("worker", "--app", SHOP), ("defer", "--app", SHOP, "add", '{"a": 1}')]
)
def test_a_database_that_is_not_there_is_one_line_without_its_password(
    taskq: Taskq, arguments: tuple[str, ...], url: str, exit_code: int, said: str
) -> None:
    done = taskq(*arguments, env={"TASKQ_DATABASE_URL": url})
    assert done.exit_code == exit_code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "cret" not in done.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "--no-wait"),
        ("defer", "add", '{"a": 1}'),
        ("jobs", "list"),
        ("jobs", "show", "1"),
        ("jobs", "retry", "1"),
        ("jobs", "cancel", "1"),
        ("jobs", "abort", "1"),
        ("jobs", "delete", "1"),
        ("jobs", "reschedule", "1", "--in", "1s"),
        ("queues", "list"),
        ("workers", "list"),
        ("periodic", "list"),
        ("events", "list"),
        ("watch", "--once"),
        ("healthcheck",),
    ],
    ids=" ".join,
)
def test_on_a_database_of_a_newer_taskq_it_says_what_to_do(
    taskq: Taskq, connection: psycopg.Connection, arguments: tuple[str, ...]
) -> None:
    name = "9999_post_take_away.sql"
    connection.execute("INSERT INTO taskq_migrations VALUES (9999, %s, 'unknown')", [name])
    done = taskq("--app", SHOP, *arguments)
    assert done.exit_code == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith(
        f"Error: the database has '{name}', which this version of taskq does not know"
    )
    assert "pip install --upgrade taskq-sql" in error
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "list"),
        ("jobs", "show", "1"),
        ("queues", "list"),
        ("workers", "list"),
        ("periodic", "list"),
        ("events", "list"),
        ("watch", "--interval", "0.1"),
        ("healthcheck",),
        ("doctor",),
    ],
    ids=" ".join,
)
def test_an_observer_sees_all_and_changes_nothing(
    taskq: Taskq, observer_url: str, manager: JobManager, arguments: tuple[str, ...]
) -> None:
    [job_id] = manager.defer_jobs([NewJob(task_name="add", args={"a": 1})])
    observed = {"TASKQ_DATABASE_URL": observer_url, "TASKQ_APP": SHOP}
    done = taskq(*arguments, env=observed)
    # To the doctor a queue that no worker serves is critical.
    assert (done.exit_code, done.stderr) == (int(arguments == ("doctor",)), "")
    refused = taskq("jobs", "cancel", str(job_id), env=observed)
    assert refused.exit_code == 1
    assert "permission denied" in refused.stderr
    assert "schema grants" in refused.stderr
    assert refused.stderr.count("\n") == 1


@pytest.fixture
def observer_url(
    connection: psycopg.Connection, manager: JobManager, database_url: str
) -> Iterator[str]:
    """The database as a role sees it that may read it and no more."""
    name = f"observer_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {name}")
    connection.execute(SchemaManager(manager.database).grants(name, "observer"))
    yield f"{database_url}&options=-crole%3D{name}"
    connection.execute(f"DROP OWNED BY {name}")
    connection.execute(f"DROP ROLE {name}")


def test_an_unknown_command_is_a_usage_error(taskq: Taskq) -> None:
    assert taskq("wrok").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wrok"], "No such command 'wrok'. Did you mean 'worker'? (taskq --help shows how)"),
        (
            ["--appp", "x"],
            "No such option '--appp'. Did you mean '--app'? (taskq --help shows how)",
        ),
        (["doctor", "--jso"], "(taskq doctor --help shows how)"),
        (["defer"], "Missing argument 'TASK'"),
        (["tasks", "list", "\x1b[2J\u202e"], r"(\x1b[2J\u202e)"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_where_to_look(
    taskq: Taskq, arguments: list[str], said: str
) -> None:
    done = taskq(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "variable", "said"),
    [
        (["jobs", "list"], "TASKQ_JOBS_LIST_LIMIT", "in the variable TASKQ_JOBS_LIST_LIMIT: "),
        (["doctor"], "TASKQ_DOCTOR_WAITING", "in the variable TASKQ_DOCTOR_WAITING: "),
        (["worker"], "TASKQ_WORKER_CONCURRENCY", "option TASKQ_WORKER_CONCURRENCY='bad' makes"),
        (["worker"], "TASKQ_VERBOSE", "in the variable TASKQ_VERBOSE: "),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(
    taskq: Taskq, arguments: list[str], variable: str, said: str
) -> None:
    done = taskq(*arguments, env={variable: "bad", "TASKQ_APP": SHOP})
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("taskq d", ["dashboard", "database", "defer", "demo", "doctor"]),
        ("taskq defer s", ["shout", "sweep", "sync"]),
        ("taskq defer --queue n", ["night"]),
        ("taskq tasks ", ["list", "pause", "resume"]),
        ("taskq tasks pause sy", ["sync"]),
        ("taskq limits set t", ["tenant"]),
        ("taskq defer --app nowhere:app s", []),
    ],
)
def test_a_shell_completes_commands_tasks_and_queues(
    taskq: Taskq, typed: str, completed: list[str]
) -> None:
    done = taskq(
        env={
            "_TASKQ_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split(" ")) - 1),
            "TASKQ_APP": SHOP,
        }
    )
    assert done.stdout.split() == [f"plain,{word}" for word in completed]


def test_the_script_for_a_shell_is_clicks() -> None:
    done = CliRunner().invoke(program, env={"_TASKQ_COMPLETE": "bash_source"}, prog_name="taskq")
    assert "complete -o nosort -F _taskq_completion taskq" in done.stdout
