"""Shows that the tests find what they are for: breaks the code in a copy, and runs them there.

    python -m tests.stress.mutations [NAME …]

A mutation replaces a text in one file; what was generated from SQL is generated again. With each is named
what has to find it: a test that makes the one moment that matters, all orders of what happens at once
(tests/interleavings), or the model. In the end it prints a table of what was caught by what.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.stress.children import ROOT
from tests.stress.mutation import Mutation
from tests.stress.mutations_of_claims import OF_CLAIMS
from tests.stress.mutations_of_jobs import OF_JOBS

_COPIED = ("generated", "sql", "taskq", "tests", "tools", "sqlc.yaml", "pyproject.toml")


MUTATIONS = OF_CLAIMS | OF_JOBS


def mutate(mutation: Mutation, folder: Path) -> None:
    """Copy the code into a folder, and break it there."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
            )
        else:
            shutil.copy(source, folder / name)
    path = folder / mutation.path
    text = path.read_text()
    for old, new in mutation.changes:
        if text.count(old) != 1:
            raise ValueError(
                f"{mutation.path} has the text of the mutation {text.count(old)} times, and not once: "
                f"it says something else by now. Write anew how it is broken so that {mutation.what}"
            )
        text = text.replace(old, new)
    path.write_text(text)
    if mutation.path.startswith("sql/queries/"):
        subprocess.run(["sqlc", "generate"], cwd=folder, check=True)


def run_tests(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    """Run tests on the code in a folder, until one fails."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--numprocesses=0", "-m", "", test],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'generated'}",
            # What is kept of a run goes with the copy.
            "TMPDIR": str(folder),
            "TASKQ_MODEL_SHORTENS": "0",
            "TASKQ_MODEL_EXAMPLES": os.environ.get("TASKQ_MODEL_EXAMPLES", "400"),
        },
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_found(name: str, mutation: Mutation) -> bool:
    """Run what is to find it on the broken code; returns whether it does."""
    print(f"-- {name}: {mutation.what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="taskq-mutation-") as scratch:
        folder = Path(scratch)
        mutate(mutation, folder)
        ran = run_tests(folder, mutation.test)
    reasons = [line for line in ran.stdout.splitlines() if line.startswith("E ")]
    print("\n".join(reasons[:2]), flush=True)
    # 1: a test has failed; anything else is that none ran.
    return ran.returncode == 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MUTATIONS, []], metavar="NAME")
    given = parser.parse_args()
    table = []
    for name in given.names or MUTATIONS:
        began = time.monotonic()
        found = MUTATIONS[name].test if is_found(name, MUTATIONS[name]) else "NOT FOUND"
        table.append((name, found, time.monotonic() - began))
        print(f"{table[-1][1]} in {table[-1][2]:.0f} s", flush=True)
    print("\n| mutation | caught by | seconds |\n|---|---|---|")
    for name, found, seconds in table:
        print(f"| {name} | {found.rpartition('::')[2] or found} | {seconds:.0f} |")
    return sum(found == "NOT FOUND" for _, found, _ in table)


if __name__ == "__main__":
    sys.exit(main())
