"""Shows that the stress test finds what it is for: breaks the code in a copy, and runs it there.

    python -m tests.stress.mutations [NAME …] [--seconds 120] [--seed 1]

A mutation replaces a text in one file; what was generated from SQL is generated again. It is found if the
stress test reports one of the checks that are named with it, before the seconds are over. Where that is
left to chance, as few moments matter, a test that makes the moment is named instead, which has to fail.
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
        test: The test that must fail instead.
        and_old: What the file says in another place, if two are to be changed; once.
        and_new: What it says there instead.
    """

    what: str
    path: str
    old: str
    new: str
    found_by: frozenset[str] = frozenset()
    test: str = ""
    and_old: str = ""
    and_new: str = ""

    @property
    def changes(self) -> list[tuple[str, str]]:
        """What is replaced by what."""
        changes = [(self.old, self.new), (self.and_old, self.and_new)]
        return [change for change in changes if change[0]]


_PAUSES = "sql/migrations/0007_pre_pauses.sql"
_EXPIRY = "sql/migrations/0008_pre_expiry.sql"
_CLAIM_LOCKS = "sql/migrations/0009_pre_claim_locks.sql"
_CLAIM_LIMITS = "sql/migrations/0010_pre_claim_limits.sql"
_CLAIM = "sql/migrations/0011_pre_claim.sql"
_DEFER = "sql/migrations/0012_pre_defer.sql"

_OPENED_BY_FINISH = """    SELECT taskq_open_locks(array_agg(freed.lock), false, @worker_id::bigint) AS queues
    FROM (
"""
_OPENED_FREED = """    ) AS freed
    WHERE freed.lock IS NOT NULL
    HAVING count(*) > 0
"""

_HEAD = """            LEFT JOIN LATERAL taskq_lock_head(named.lock) AS head ON true
"""
_ANOTHER_HEAD = """            LEFT JOIN LATERAL (
                SELECT job.* FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.lock = named.lock AND {condition}
                ORDER BY job.lock, job.priority DESC, job.id
                LIMIT 1
            ) AS head ON true
"""
_HOLDER = """                (SELECT holder.id FROM taskq_lock_holder(named.lock) AS holder) AS holder_id,
"""
_FREED_LIMITS = """    WHERE gone.limit_key IS NOT NULL OR EXISTS (SELECT FROM taskq_queue_limits)
"""
_NOT_EXPIRED = """
            AND (taskq_jobs.expires_at IS NULL OR taskq_jobs.expires_at > now())
        RETURNING taskq_jobs.*
"""
_FIRST_OF_ITS_LOCK = """
                        AND NOT EXISTS (SELECT FROM taskq_lock_holder(numbered.lock) AS holder)
"""

MUTATIONS = {
    "advisory-lock": Mutation(
        what="two claims may be at one lock",
        path=_CLAIM_LOCKS,
        old="            WHERE taskq_try_gate(best.lock)\n",
        new="",
        found_by=frozenset({"exclusion", "holding", "order"}),
    ),
    "holder": Mutation(
        what="a claim does not look whether a job holds the lock",
        path=_CLAIM_LOCKS,
        old=_HOLDER,
        new="                null::bigint AS holder_id,\n",
        found_by=frozenset({"exclusion", "holding"}),
    ),
    "share-lock": Mutation(
        what="a claim forgets a gate and does not lock the job that bars it",
        path=_CLAIM_LOCKS,
        old="            FOR SHARE SKIP LOCKED\n        ),\n",
        new="        ),\n",
        test="tests/sql/test_claim_jobs.py::"
        "test_a_lock_that_is_found_held_is_opened_when_its_job_ends_in_that_moment",
    ),
    "same-snapshot": Mutation(
        what="the end of a job looks for the next one of its lock with the snapshot of its own statement",
        path="sql/queries/job_finish.sql",
        old=_OPENED_BY_FINISH,
        new="""    INSERT INTO taskq_open_gates (queue_name, priority, job_id, lock)
    SELECT head.queue_name, head.priority, head.id, freed.lock
    FROM (
""",
        and_old=_OPENED_FREED,
        and_new="""    ) AS freed
    CROSS JOIN LATERAL (
        SELECT job.queue_name, job.priority, job.id, job.due FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND job.lock = freed.lock
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    ) AS head
    WHERE head.due
    RETURNING 0::bigint AS queues
""",
        found_by=frozenset({"stall"}),
    ),
    "skipped-row": Mutation(
        what="a claim goes on behind a job of a lock whose row is locked",
        path=_CLAIM_LOCKS,
        old="                ELSE numbered.lock IS NULL OR numbered.place = numbered.number\n",
        new="                ELSE true\n",
        found_by=frozenset({"order"}),
    ),
    "skipped-head": Mutation(
        what="a claim forgets the gate of a head whose row is locked",
        path=_CLAIM,
        old="                WHERE gate.lock IN (SELECT unnest(settled))\n",
        new="                WHERE gate.lock IN (SELECT unnest(settled || run_locks))\n",
        found_by=frozenset({"stall"}),
    ),
    "head-for-later": Mutation(
        what="a head that is for later holds no others",
        path=_CLAIM_LOCKS,
        old=_HEAD,
        new=_ANOTHER_HEAD.format(condition="job.due"),
        found_by=frozenset({"order"}),
    ),
    "head-of-queue": Mutation(
        what="a claim takes the first job of a lock in its queues, and not of the lock",
        path=_CLAIM_LOCKS,
        old=_HEAD,
        new=_ANOTHER_HEAD.format(condition="job.queue_name = ANY(queue_names)"),
        found_by=frozenset({"order"}),
    ),
    "deferred": Mutation(
        what="a job that is deferred by itself opens no gate",
        path=_DEFER,
        old="            PERFORM taskq_open_locks(ARRAY[only_job ->> 'lock'], false);\n",
        new="            NULL;\n",
        found_by=frozenset({"stall"}),
    ),
    "promoted": Mutation(
        what="a job that becomes due opens no gate",
        path="sql/queries/job_schedule.sql",
        old="    WHERE promoted.lock IS NOT NULL OR promoted.limit_key IS NOT NULL\n",
        new="    WHERE promoted.lock IS NULL\n",
        found_by=frozenset({"stall"}),
    ),
    "rescued": Mutation(
        what="the rescue of a job opens no gate",
        path="sql/queries/job_rescue.sql",
        old="    WHERE rescued.lock IS NOT NULL\n",
        new="    WHERE rescued.lock IS NULL\n",
        found_by=frozenset({"stall"}),
    ),
    "cancelled-head": Mutation(
        what="the next job of a lock is not let in when the first one is cancelled",
        path="sql/queries/job_change.sql",
        old="    FROM gone\n    WHERE gone.lock IS NOT NULL\n",
        new="    FROM gone\n    WHERE gone.lock IS NULL\n",
        found_by=frozenset({"stall"}),
    ),
    "run-after-retry": Mutation(
        what="a worker goes on with what follows a job that is to run again",
        path="taskq/worker/executor_pool.py",
        old="        if outcome is None or outcome.status is JobStatus.TODO:\n",
        new="        if outcome is None:\n",
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
        test="tests/sql/test_finish_jobs.py::test_a_worker_that_no_longer_has_the_job_changes_nothing",
    ),
    "announcement": Mutation(
        what="no worker is told of a lock that went free whose next job the worker will not claim",
        path="taskq/worker/services.py",
        old="            self.completer.announce(locks, limits)\n",
        new="            self.completer.announce([], limits)\n",
        test="tests/worker/test_locks.py::test_another_worker_hears_of_a_lock_that_this_one_frees",
    ),
    "limit-advisory-lock": Mutation(
        what="two claims may be at one limit",
        path=_CLAIM_LIMITS,
        old="        WHERE taskq_try_gate(best.limit_key)\n",
        new="",
        found_by=frozenset({"crowd", "limit", "rate"}),
    ),
    "limit-end-at-once": Mutation(
        what="the end of a job opens its limit only if it sees a job that waits",
        path="sql/queries/job_finish.sql",
        old=_FREED_LIMITS,
        new="""    WHERE
        gone.limit_key IS NOT NULL
        AND EXISTS (SELECT FROM taskq_jobs AS job WHERE job.status = 'todo' AND job.limit_key =
        gone.limit_key)
""",
        found_by=frozenset({"stall"}),
    ),
    "limit-end": Mutation(
        what="the end of a job does not open its limit",
        path="sql/queries/job_finish.sql",
        old=_FREED_LIMITS,
        new="    WHERE gone.limit_key LIKE 'queue%'\n",
        found_by=frozenset({"stall"}),
    ),
    "limit-of-a-head": Mutation(
        what="a head of a lock that comes to wait at a limit does not open it",
        path=_CLAIM_LOCKS,
        old="            WHERE elsewhere.limit_key IS NOT NULL\n",
        new="            WHERE false\n",
        found_by=frozenset({"stall"}),
    ),
    "limit-former-head": Mutation(
        what="a job that has waited at a limit is claimed although it is not the first of its lock any more",
        path=_CLAIM_LOCKS,
        old=_FIRST_OF_ITS_LOCK,
        new="\n                        OR true\n",
        test="tests/sql/test_limits.py::"
        "test_a_job_that_waits_at_a_limit_and_is_not_the_first_of_its_lock_any_more_waits_for_that_again",
    ),
    "limit-of-a-queue": Mutation(
        what="a claim counts only one of the limits that its jobs are in",
        path=_CLAIM,
        old="            WHERE queue_limits <> '{}' AND key.name = ANY(limits_visited)\n",
        new="            WHERE false\n",
        found_by=frozenset({"crowd"}),
    ),
    "pace": Mutation(
        what="a start takes nothing from the rate of its limit",
        path=_CLAIM_LIMITS,
        old="            + settled.started * settled.pace\n",
        new="",
        found_by=frozenset({"rate"}),
    ),
    "resumption": Mutation(
        what="a claim takes jobs of a paused task out of its way without locking the pause",
        path=_PAUSES,
        old="        FOR KEY SHARE SKIP LOCKED\n",
        new="",
        test="tests/sql/test_task_pauses.py::"
        "test_a_claim_that_has_seen_the_pause_forgets_no_job_of_a_task_that_is_just_resumed",
    ),
    "expired-claim": Mutation(
        what="a claim does not look at the time by which a job is to begin",
        path=_CLAIM,
        old="    IF has_expired THEN\n",
        new="    IF false THEN\n",
        and_old=_NOT_EXPIRED,
        and_new="\n        RETURNING taskq_jobs.*\n",
        found_by=frozenset({"expiry"}),
    ),
    "expired-head": Mutation(
        what="the next job of a lock is not let in when the first one expires",
        path=_EXPIRY,
        old="        FROM expired\n        WHERE expired.lock IS NOT NULL\n",
        new="        FROM expired\n        WHERE expired.lock IS NULL\n",
        found_by=frozenset({"stall"}),
    ),
    "expiry-of-what-began": Mutation(
        what="a job that has begun, and is to run again, expires still",
        path="sql/queries/job_finish.sql",
        old="            WHEN ended.status <> 'todo' OR ended.unstarted OR ended.given_back IS NOT NULL THEN",
        new="            WHEN true THEN",
        found_by=frozenset({"expiry"}),
    ),
    "own-commit": Mutation(
        what="a task's transaction is committed without the end of its job",
        path="taskq/worker/job_commit.py",
        old="                self._finish(connection, outcome)\n",
        new="",
        found_by=frozenset({"effects", "ends"}),
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


def run(folder: Path, *module: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module on the code in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *module],
        cwd=folder,
        env=os.environ
        | {
            "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'generated'}",
            # What is kept of a run goes with the copy.
            "TMPDIR": str(folder),
        },
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )


def is_found(name: str, mutation: Mutation, arguments: list[str]) -> bool:
    """Run what is to find it on the broken code; returns whether it does."""
    print(f"-- {name}: {mutation.what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="taskq-mutation-") as scratch:
        folder = Path(scratch)
        mutate(mutation, folder)
        if mutation.test:
            # 1: a test has failed; anything else is that none ran.
            is_right = run(folder, "pytest", "-q", mutation.test).returncode == 1
            print(f"{'found' if is_right else 'NOT FOUND'} by {mutation.test}", flush=True)
            return is_right
        lines = run(folder, "tests.stress", *arguments).stdout.splitlines()
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
