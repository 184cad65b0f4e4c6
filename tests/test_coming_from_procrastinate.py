"""The page for those who come from Procrastinate leaves out none of its public names."""

import argparse
import ast
import importlib.resources
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import procrastinate
import procrastinate.cli
import procrastinate.contrib
import procrastinate.shell
import procrastinate.testing
import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "coming-from-procrastinate.md").read_text()
CODE = " ".join(re.findall(r"`([^`\n]+)`", PAGE))

# Names that are there for type checkers, or for the module alone.
NO_API = {"Args", "P", "R", "T", "logger", "wrap_exceptions"}

# Of a connector only that it is one concerns who uses it; these modules are the program's own.
BY_NAME_ALONE = ("connector", "psycopg_connector", "sync_psycopg_connector", "testing")
INTERNAL = ("cli", "shell", "signals", "sql", "types", "utils", "metadata")

EXAMINED = (
    *("app", "blueprints", "tasks", "jobs", "manager", "job_context", "retry", "exceptions"),
    *("schema", "middleware", "periodic", "builtin_tasks", "worker", *BY_NAME_ALONE),
)


def names_of(module: str) -> Iterator[str]:
    """What a module defines, and the members of its classes."""
    source = importlib.resources.files("procrastinate").joinpath(f"{module}.py").read_text()
    for name, node in defined(ast.parse(source)):
        yield name
        if isinstance(node, ast.ClassDef) and module not in BY_NAME_ALONE:
            yield from (member for member, _ in defined(node))


def defined(scope: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.stmt]]:
    """The public names that the body of a module or a class gives to something."""
    for node in scope.body:
        match node:
            case (
                ast.ClassDef(name=name)
                | ast.FunctionDef(name=name)
                | ast.AsyncFunctionDef(name=name)
            ):
                names = [name]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case ast.Assign(targets=targets):
                names = [target.id for target in targets if isinstance(target, ast.Name)]
            case _:
                names = []
        yield from ((name, node) for name in names if name not in NO_API and name[0] != "_")


def attributes_of_instances() -> Iterator[str]:
    """What objects have that their classes do not show."""
    app = procrastinate.App(connector=procrastinate.testing.InMemoryConnector())

    @app.task
    def task() -> None: ...

    objects: list[Any] = [app, task, task.configure(), app.periodic_registry, app._worker()]
    for thing in objects:
        yield from (name for name in vars(thing) if not name.startswith("_"))


def words_of_the_program(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The options and commands that the program takes."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield name
                yield from words_of_the_program(command)


def is_told(name: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", CODE) is not None


@pytest.mark.parametrize("name", EXAMINED)
def test_no_name_of_a_module_is_left_out(name: str) -> None:
    names = set(names_of(name))
    assert names
    assert {name for name in names if not is_told(name)} == set()


def test_no_module_is_left_out() -> None:
    modules = {module.name for module in pkgutil.iter_modules(procrastinate.__path__)}
    assert modules - {*EXAMINED, *INTERNAL, "contrib", "__main__"} == set()
    assert all(is_told(f"procrastinate.{name}") for name in INTERNAL)
    kinds = [module.name for module in pkgutil.iter_modules(procrastinate.contrib.__path__)]
    assert kinds
    assert {kind for kind in kinds if not is_told(f"contrib.{kind}")} == set()


def test_no_name_that_is_exported_and_no_attribute_is_left_out() -> None:
    names = {*procrastinate.__all__, *attributes_of_instances()}
    assert {name for name in names if not is_told(name)} == set()


def test_no_command_and_no_option_is_left_out() -> None:
    parser = procrastinate.cli.create_parser()
    procrastinate.cli.add_arguments(parser)
    procrastinate.cli.add_cli_features(parser)
    words = set(words_of_the_program(parser))
    typed = vars(procrastinate.shell.ProcrastinateShell).keys() - {"do_EOF"}
    words |= {name.removeprefix("do_") for name in typed if name.startswith("do_")}
    assert {"--app", "worker", "list_jobs"} < words
    assert {word for word in words if not is_told(word)} == set()


def test_each_row_says_what_became_of_it() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
    rows = [row for row in rows if not row[0].endswith("Procrastinate 3")]
    assert len(rows) > 50
    for row in rows:
        assert row[1] in {"same", "better", "not there"}, row
        assert row[1] == "same" or row[2].rstrip(" |"), f"{row} does not say why"
