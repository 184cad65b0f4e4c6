"""taskq as type checkers see it: what they must take, and what they must refuse."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent.relative_to(ROOT)

FILES = ("accepted.py", "refused.py")
COMMANDS = {
    "mypy": ["mypy", "--strict", "--output", "json"],
    "pyright": ["pyright", "--outputjson"],
}


# By file name, the lines on which a checker finds an error.
Errors = dict[str, set[int]]


def mypy_errors(output: str) -> Iterator[tuple[str, int]]:
    for line in output.splitlines():
        if line.startswith("{"):  # not the closing line in words
            found = json.loads(line)
            if found["severity"] == "error":
                yield found["file"], found["line"]


def pyright_errors(output: str) -> Iterator[tuple[str, int]]:
    for found in json.loads(output)["generalDiagnostics"]:
        if found["severity"] == "error":
            yield found["file"], found["range"]["start"]["line"] + 1


def errors(checker: str) -> Errors:
    """What a type checker finds wrong in the files of this folder."""
    run = subprocess.run(
        [*COMMANDS[checker], *(str(HERE / name) for name in FILES)],
        cwd=ROOT,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    found: Errors = {name: set() for name in FILES}
    for file, line in {"mypy": mypy_errors, "pyright": pyright_errors}[checker](run.stdout):
        found[Path(file).name].add(line)
    return found


@pytest.mark.parametrize("checker", COMMANDS)
def test_correct_use_is_taken_and_every_marked_mistake_refused(checker: str) -> None:
    lines = (ROOT / HERE / "refused.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, start=1) if "# refused" in line}
    assert len(marked) >= 30
    assert errors(checker) == {"accepted.py": set(), "refused.py": marked}


@pytest.mark.slow
def test_the_types_of_the_public_names_are_known_to_users_who_install_it() -> None:
    run = subprocess.run(
        ["pyright", "--verifytypes", "taskq", "--ignoreexternal", "--outputjson"],
        cwd=ROOT,
        env=os.environ | {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(run.stdout)["typeCompleteness"]
    unclear = [
        symbol["name"]
        for symbol in found["symbols"]
        if symbol["isExported"] and (symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"])
    ]
    assert found["exportedSymbolCounts"]["withKnownType"] > 1000
    assert found["completenessScore"] >= 0.99, unclear
