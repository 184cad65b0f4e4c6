"""Whose clock counts: the server's, as clients and workers on several machines agree on no other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import taskq

SOURCES = Path(taskq.__file__).parent

# What goes by this machine's clock, and decides nothing.
OWN = {
    ("periodic.py", "periodic_of"),  # whether an expression ever comes true; a tick by hand
    ("worker/attempt.py", "_context"),  # for how long an attempt runs, as a task compares it
}

CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time"}


def readings(source: Path) -> Iterator[str]:
    """The functions of a module that read this machine's clock."""
    tree = ast.parse(source.read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in CLOCKS:
                    yield function.name


def test_this_machines_clock_is_read_where_it_decides_nothing() -> None:
    found = {
        (source.relative_to(SOURCES).as_posix(), name)
        for source in SOURCES.rglob("*.py")
        for name in readings(source)
    }
    assert found == OWN
