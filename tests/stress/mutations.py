"""Shows that the stress test finds what it is for: breaks the code in a copy, and runs it there.

    python -m tests.stress.mutations [NAME …] [--seconds 120] [--seed 1]

A mutation replaces a text in one file; what was generated from SQL is generated again. It is found if the
stress test reports one of the checks that are named with it, before the seconds are over.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.stress.children import ROOT

_COPIED = ("generated", "sql", "taskq", "tests", "tools", "sqlc.yaml", "pyproject.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One way to break the code.

    Attributes:
        what: What is broken by it.
        path: In which file.
        old: What it says, once.
        new: What it says instead.
        found_by: The checks of which one must find it.
    """

    what: str
    path: str
    old: str
    new: str
    found_by: frozenset[str]


MUTATIONS = {
    "lock-row": Mutation(
        what="a claim takes a job although it did not get the row of its lock",
        path="sql/queries/job_claim.sql",
        old="SELECT held.id FROM held\n",
        new="SELECT taken_head.id FROM taken_head\n",
        found_by=frozenset({"exclusion", "holding"}),
    ),
    "head": Mutation(
        what="a claim takes the first job of a lock in a queue, and not of the lock",
        path="sql/queries/job_claim.sql",
        old="""        AND first.id = (
            SELECT job.id
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND job.due AND job.lock = first.lock
            ORDER BY job.lock, job.priority DESC, job.id
            LIMIT 1
        )
""",
        new="",
        found_by=frozenset({"order"}),
    ),
    "head-for-later": Mutation(
        what="a head that is for later holds nobody",
        path="sql/queries/job_claim.sql",
        old="""                job.priority < first.priority
                OR (job.priority = first.priority AND job.id > first.id)
""",
        new="                true\n",
        found_by=frozenset({"order"}),
    ),
    "fence": Mutation(
        what="a worker writes the end of an attempt that is not its own any more",
        path="sql/queries/job_finish.sql",
        old="""        AND taskq_jobs.claim = ended.claim
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND NOT ended.deleted
""",
        new="        AND NOT ended.deleted\n",
        found_by=frozenset({"ends"}),
    ),
    "announcement": Mutation(
        what="nobody is told of a lock that went free whose next job the worker will not claim",
        path="taskq/worker/worker.py",
        old="            self._completer.announce(locks)\n",
        new="            pass\n",
        found_by=frozenset({"stall"}),
    ),
    "cancelled-head": Mutation(
        what="nobody is told of the next job of a lock when the first one is cancelled",
        path="sql/queries/job_change.sql",
        old="""    CROSS JOIN LATERAL taskq_lock_head(freed.lock, freed.ids) AS follower (queue_name)
)

SELECT
    found.id,
    found.status,
    (gone.id IS NOT NULL""",
        new="""    CROSS JOIN LATERAL taskq_lock_head(freed.lock, freed.ids) AS follower (queue_name)
    WHERE false
)

SELECT
    found.id,
    found.status,
    (gone.id IS NOT NULL""",
        found_by=frozenset({"stall"}),
    ),
}


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
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.path} has the text of the mutation {text.count(mutation.old)} times, and not once: "
            f"it says something else by now. Write anew how it is broken so that {mutation.what}"
        )
    path.write_text(text.replace(mutation.old, mutation.new))
    if mutation.path.startswith("sql/queries/"):
        subprocess.run(["sqlc", "generate"], cwd=folder, check=True)


def is_found(name: str, mutation: Mutation, arguments: list[str]) -> bool:
    """Run the stress test on the broken code; returns whether it finds that."""
    print(f"-- {name}: {mutation.what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="taskq-mutation-") as scratch:
        folder = Path(scratch)
        mutate(mutation, folder)
        ran = subprocess.run(
            [sys.executable, "-m", "tests.stress", *arguments],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{folder / 'generated'}"},
            check=False,
            stdout=subprocess.PIPE,
            text=True,
        )
    lines = ran.stdout.splitlines()
    waves = [line for line in lines if line.startswith("wave ")]
    found = Counter(line.split(":")[0] for line in lines if re.match("[a-z]+: ", line))
    is_right = bool(found.keys() & mutation.found_by)
    first = next((line for line in lines if line.split(":")[0] in mutation.found_by), None)
    print(f"{'found' if is_right else 'NOT FOUND'} in wave {len(waves)}: {dict(found)}")
    print(f"  {first}", flush=True)
    return is_right


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MUTATIONS, []], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    missed = [
        name
        for name in given.names or MUTATIONS
        if not is_found(
            name, MUTATIONS[name], [f"--seconds={given.seconds}", f"--seed={given.seed}"]
        )
    ]
    return len(missed)


if __name__ == "__main__":
    sys.exit(main())
