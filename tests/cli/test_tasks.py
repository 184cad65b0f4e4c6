"""The command that lists tasks."""

import json
import re

from taskq import JobManager
from taskq.job import NewJob
from tests.cli.conftest import SHOP, Taskq, ended
from tests.cli.terminal import on_terminal


def test_people_see_the_signature_and_the_queue_of_each_task() -> None:
    done = ended("tasks", "list", "--app", SHOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.rstrip() for line in done.stdout.splitlines()] == [
        "task    arguments                                           queue     aliases",
        "─────────────────────────────────────────────────────────────────────────────",
        "add     (a: int, b: int = 0) -> int                         default",
        "hold    (started: pathlib.Path, go: pathlib.Path) -> None   default",
        "shout   (text: str) -> None                                 default",
        "sweep   (timestamp: int, depth: int = 1) -> None            night     clean",
        "sync    (account: str) -> None                              default",
        "wait    () -> None                                          default",
        "who     () -> str                                           default",
    ]


def test_annotations_that_are_text_are_shown_as_types_and_the_module_is_enough() -> None:
    done = ended("tasks", "list", "--app", "tests.cli.modern_shop")
    assert "(path: pathlib.Path, sizes: list[int] | None = None) -> None" in done.stdout
    # Of a context and what is returned, the type may be there for type checkers alone.
    assert (
        "(folder: pathlib.Path, of: collections.abc.Sequence[pathlib.Path | None] = (), **rest: int) "
        "-> Decimal "
    ) in done.stdout


def test_json_has_the_schema_of_its_arguments(taskq: Taskq) -> None:
    done = taskq("tasks", "list", "--app", SHOP, "--json")
    assert done.exit_code == 0
    add, *others = json.loads(done.stdout)
    assert add == {
        "name": "add",
        "aliases": [],
        "signature": "(a: int, b: int = 0) -> int",
        "arguments": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a"],
            "additionalProperties": False,
        },
        "queue": "default",
        "priority": 0,
        "lock": None,
        "queueing_lock": None,
        "metadata": None,
        "tags": [],
        "expire_in": None,
        "timeout": None,
        "is_async": False,
        "store_result": True,
        "encrypted": False,
        "pauses": [],
    }
    assert [task["name"] for task in others] == ["hold", "shout", "sweep", "sync", "wait", "who"]


def test_people_may_see_the_schema_too(taskq: Taskq) -> None:
    shown = taskq("tasks", "list", "--app", SHOP, "--schema").stdout
    assert '{"type": "object", "properties": {"text": {"type": "string"}}' in shown


def test_a_task_of_the_app_is_paused_and_resumed_by_all_its_names(
    taskq: Taskq, manager: JobManager
) -> None:
    for name in ("sweep", "clean", "clean"):
        manager.defer_jobs([NewJob(task_name=name, args={"timestamp": 1})])
    words = ["tasks", "pause", "clean", "--app", SHOP, "--by", "ada", "--reason", "it sweeps all"]
    assert taskq(*words).stdout.splitlines() == [
        "task sweep is paused: 1 job todo, 0 doing",
        "task clean is paused: 2 jobs todo, 0 doing",
    ]
    again = taskq("tasks", "pause", "sweep", "--app", SHOP)
    assert again.exit_code == 0
    assert again.stdout.splitlines() == [
        f"task {name} was paused already, for 0s by ada: it sweeps all"
        for name in ("sweep", "clean")
    ]
    assert taskq("tasks", "resume", "sweep", "--app", SHOP).stdout.splitlines() == [
        "task sweep is resumed: 1 job todo, 0 doing",
        "task clean is resumed: 2 jobs todo, 0 doing",
    ]
    assert taskq("tasks", "resume", "clean").stdout == "task clean was not paused\n"
    assert manager.list_pauses() == []


def test_a_name_that_nothing_has_is_refused_with_a_hint(taskq: Taskq, manager: JobManager) -> None:
    manager.defer_jobs([NewJob(task_name="ship", args={})])
    for command in ("pause", "resume"):
        done = taskq("tasks", command, "shp")
        assert (done.exit_code, done.stdout) == (2, "")
        assert "did you mean 'ship'?" in done.stderr
        assert "did you mean 'sweep'?" in taskq("tasks", command, "swep", "--app", SHOP).stderr
    assert taskq("tasks", "pause", "ship").exit_code == 0
    manager.delete_jobs(task="ship")
    # There is no job of it any more, but the pause.
    assert taskq("tasks", "resume", "ship").stdout == "task ship is resumed: 0 jobs todo, 0 doing\n"


def test_lists_show_what_is_paused(taskq: Taskq, manager: JobManager) -> None:
    for name in ("sweep", "clean"):
        manager.pause_task(name, by="ada")
    manager.pause_task("ship")
    manager.pause_queue("add")
    done = taskq("tasks", "list", "--app", SHOP)
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0].endswith("paused")
    assert [line.split()[0] for line in lines if line.endswith("s by ada")] == ["sweep"]
    assert done.stderr == "paused, and not of this app: ship\n"
    manager.resume_task("sweep")
    assert re.search(r"clean for \d+s by ada", taskq("tasks", "list", "--app", SHOP).stdout)
    listed = json.loads(taskq("tasks", "list", "--app", SHOP, "--json").stdout)
    pauses = {task["name"]: task["pauses"] for task in listed}
    [pause] = pauses["sweep"]
    assert (pause["name"], pause["paused_by"], pause["reason"]) == ("clean", "ada", None)
    assert pauses["add"] == []
    assert "which are paused" not in done.stderr


def test_without_a_database_the_tasks_are_listed_and_what_is_paused_is_not_known(
    taskq: Taskq, bare_url: str
) -> None:
    done = taskq("tasks", "list", "--app", SHOP, "--json", "--database", bare_url)
    assert (done.exit_code, len(json.loads(done.stdout))) == (0, 7)
    assert done.stderr.startswith("which are paused is not known: ")


def test_an_app_without_tasks_says_how_to_have_some(taskq: Taskq) -> None:
    done = taskq("tasks", "list", "--app", "tests.cli.empty_shop:app")
    assert done.exit_code == 0
    assert "@app.task" in done.stdout
    assert taskq("tasks", "list", "--app", "tests.cli.empty_shop:app", "--json").stdout == "[]\n"


def test_it_is_coloured_on_a_terminal_and_nowhere_else() -> None:
    with on_terminal("tasks", "list", "--app", SHOP) as terminal:
        assert "\x1b[1m" in terminal.rest()
    assert "\x1b" not in ended("tasks", "list", "--app", SHOP).stdout
