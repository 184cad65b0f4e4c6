"""The command that lists tasks."""

import json

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
        "timeout": None,
        "is_async": False,
        "store_result": True,
    }
    assert [task["name"] for task in others] == ["hold", "shout", "sweep", "wait", "who"]


def test_people_may_see_the_schema_too(taskq: Taskq) -> None:
    shown = taskq("tasks", "list", "--app", SHOP, "--schema").stdout
    assert '{"type": "object", "properties": {"text": {"type": "string"}}' in shown


def test_an_app_without_tasks_says_how_to_have_some(taskq: Taskq) -> None:
    done = taskq("tasks", "list", "--app", "tests.cli.empty_shop:app")
    assert done.exit_code == 0
    assert "@app.task" in done.stdout
    assert taskq("tasks", "list", "--app", "tests.cli.empty_shop:app", "--json").stdout == "[]\n"


def test_it_is_coloured_on_a_terminal_and_nowhere_else() -> None:
    with on_terminal("tasks", "list", "--app", SHOP) as terminal:
        assert "\x1b[1m" in terminal.rest()
    assert "\x1b" not in ended("tasks", "list", "--app", SHOP).stdout
