"""Shows that the tests find what they are for: breaks the code in a copy, and runs them there.

    python -m tests.stress.mutations [NAME …] [--seconds 120] [--seed 1]

A mutation replaces a text in one file; what was generated from SQL is generated again. With each is named what has to
find it: a test that makes the one moment that matters, all orders of what happens at once (tests/interleavings), the
model, or else the stress test, which has to report one of its checks before the seconds are over. In the end it prints
a table of what was caught by what.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
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


INTERLEAVINGS = "tests/interleavings/test_interleavings.py::test_the_promises_hold_in_every_order"
MODEL = "tests/model/test_model.py"

_TABLES = "sql/migrations/0001_pre_tables.sql"
_LIMITS = "sql/migrations/0005_pre_limits.sql"
_FINISH = "sql/queries/job_finish.sql"
_RESCUE = "sql/queries/job_rescue.sql"
_CHANGE = "sql/queries/job_change.sql"
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

_FENCED = """        AND taskq_jobs.claim = ended.claim
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND NOT ended.deleted
"""

MUTATIONS = {
    "advisory-lock": Mutation(
        what="two claims may be at one lock",
        path=_CLAIM_LOCKS,
        old="            WHERE taskq_try_gate(best.lock)\n",
        new="",
        test=f"{INTERLEAVINGS}[claim and defer higher and claim too]",
    ),
    "holder": Mutation(
        what="a claim does not look whether a job holds the lock",
        path=_CLAIM_LOCKS,
        old=_HOLDER,
        new="                null::bigint AS holder_id,\n",
        test=MODEL,
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
        test=f"{INTERLEAVINGS}[finish and defer and claim]",
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
        test=MODEL,
    ),
    "head-of-queue": Mutation(
        what="a claim takes the first job of a lock in its queues, and not of the lock",
        path=_CLAIM_LOCKS,
        old=_HEAD,
        new=_ANOTHER_HEAD.format(condition="job.queue_name = ANY(queue_names)"),
        test=MODEL,
    ),
    "deferred": Mutation(
        what="a job that is deferred by itself opens no gate",
        path=_DEFER,
        old="            PERFORM taskq_open_locks(ARRAY[only_job ->> 'lock'], false);\n",
        new="            NULL;\n",
        test=MODEL,
    ),
    "promoted": Mutation(
        what="a job that becomes due opens no gate",
        path="sql/queries/job_schedule.sql",
        old="    WHERE promoted.lock IS NOT NULL OR promoted.limit_key IS NOT NULL\n",
        new="    WHERE promoted.lock IS NULL\n",
        test=MODEL,
    ),
    "rescued": Mutation(
        what="the rescue of a job opens no gate",
        path="sql/queries/job_rescue.sql",
        old="    WHERE rescued.lock IS NOT NULL\n",
        new="    WHERE rescued.lock IS NULL\n",
        test=MODEL,
    ),
    "cancelled-head": Mutation(
        what="the next job of a lock is not let in when the first one is cancelled",
        path="sql/queries/job_change.sql",
        old="    FROM gone\n    WHERE gone.lock IS NOT NULL\n",
        new="    FROM gone\n    WHERE gone.lock IS NULL\n",
        test=MODEL,
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
        test=f"{INTERLEAVINGS}[finish unlocked and defer limited]",
    ),
    "limit-end": Mutation(
        what="the end of a job does not open its limit",
        path="sql/queries/job_finish.sql",
        old=_FREED_LIMITS,
        new="    WHERE gone.limit_key LIKE 'queue%'\n",
        test=MODEL,
    ),
    "limit-of-a-head": Mutation(
        what="a head of a lock that comes to wait at a limit does not open it",
        path=_CLAIM_LOCKS,
        old="            WHERE elsewhere.limit_key IS NOT NULL\n",
        new="            WHERE false\n",
        test=MODEL,
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
        test=MODEL,
    ),
    "pace": Mutation(
        what="a start takes nothing from the rate of its limit",
        path=_CLAIM_LIMITS,
        old="            + settled.started * settled.pace\n",
        new="",
        test=MODEL,
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
        test=MODEL,
    ),
    "expiry-of-what-began": Mutation(
        what="a job that has begun, and is to run again, expires still",
        path="sql/queries/job_finish.sql",
        old="            WHEN ended.status <> 'todo' OR ended.unstarted OR ended.given_back IS NOT NULL THEN",
        new="            WHEN true THEN",
        test=MODEL,
    ),
    "own-commit": Mutation(
        what="a task's transaction is committed without the end of its job",
        path="taskq/worker/job_commit.py",
        old="                self._finish(connection, outcome)\n",
        new="",
        found_by=frozenset({"effects", "ends"}),
    ),
    "fence-of-the-worker": Mutation(
        what="a worker writes the end of an attempt that another worker has, if the number of the claim is right",
        path=_FINISH,
        old=_FENCED,
        new=_FENCED.replace("        AND taskq_jobs.worker_id = @worker_id::bigint\n", ""),
        test="tests/sql/test_finish_jobs.py::test_a_worker_that_no_longer_has_the_job_changes_nothing",
    ),
    "fence-of-the-claim": Mutation(
        what="a worker writes the end of an earlier claim of a job that it has claimed again",
        path=_FINISH,
        old=_FENCED,
        new=_FENCED.replace("        AND taskq_jobs.claim = ended.claim\n", ""),
        test=MODEL,
    ),
    "fence-of-a-deletion": Mutation(
        what="a worker deletes a job that it has lost",
        path=_FINISH,
        old="        AND taskq_jobs.status = 'doing'\n        AND ended.deleted\n",
        new="        AND ended.deleted\n",
        test=MODEL,
    ),
    "abort-of-a-retry": Mutation(
        what="a job that is to be aborted is queued again by its retry",
        path=_FINISH,
        old="            WHEN ended.status = 'todo' AND taskq_jobs.abort_requested THEN 'aborted'\n",
        new="",
        test=MODEL,
    ),
    "attempt-of-a-snooze": Mutation(
        what="a snooze uses up an attempt",
        path=_FINISH,
        old="            WHEN ended.keeps_attempt THEN greatest(taskq_jobs.attempt, 1) - 1\n",
        new="            WHEN false THEN 0\n",
        test=MODEL,
    ),
    "queueing-lock-of-retries": Mutation(
        what="two retries with one queueing lock in a batch are both queued",
        path=_FINISH,
        old="        retried.place > 1\n        OR EXISTS (",
        new="        EXISTS (",
        test="tests/sql/test_finish_jobs.py::test_of_two_retries_with_one_queueing_lock_in_a_batch_one_waits",
    ),
    "queueing-lock": Mutation(
        what="two transactions at once may each defer a job with the same queueing lock",
        path=_TABLES,
        old="CREATE UNIQUE INDEX taskq_jobs_queueing_lock",
        new="CREATE INDEX taskq_jobs_queueing_lock",
        test=f"{INTERLEAVINGS}[defer q and defer q too]",
    ),
    "idempotency-key": Mutation(
        what="two transactions at once may each make a job with the same idempotency key",
        path=_TABLES,
        old="CREATE UNIQUE INDEX taskq_jobs_idempotency_key",
        new="CREATE INDEX taskq_jobs_idempotency_key",
        test=f"{INTERLEAVINGS}[defer k and defer k too]",
    ),
    "replaced-lock": Mutation(
        what="the next job of a lock is not let in when the first one is replaced by a job without it",
        path=_DEFER,
        old="                            PERFORM taskq_open_locks(ARRAY[waiting.lock]);\n",
        new="                            NULL;\n",
        test="tests/sql/test_defer_conflicts.py::"
        "test_workers_hear_of_the_new_place_and_of_the_next_job_of_the_lock_that_was_left",
    ),
    "rescue-of-an-abort": Mutation(
        what="a job that was to be aborted runs again after its worker has died",
        path=_RESCUE,
        old="            WHEN suspected.abort_requested THEN ', and was to abort it'\n",
        new="",
        test=MODEL,
    ),
    "rescue-of-a-limit": Mutation(
        what="the rescue of a job does not open its limit",
        path=_RESCUE,
        old="    FROM rescued\n    HAVING count(*) > 0\n",
        new="    FROM rescued\n    HAVING count(*) < 0\n",
        test="tests/sql/test_limits.py::test_the_job_of_a_dead_worker_makes_room",
    ),
    "rescue-of-the-living": Mutation(
        what="a worker that says that it is alive is taken for dead",
        path=_RESCUE,
        old="        last_heartbeat < now() - make_interval(secs => @stalled_after::double precision)\n"
        "        OR last_heartbeat",
        new="        last_heartbeat < now() + make_interval(secs => @stalled_after::double precision)\n"
        "        OR last_heartbeat",
        test=MODEL,
    ),
    "deleted-head": Mutation(
        what="the next job of a lock is not let in when the first one is deleted",
        path=_CHANGE,
        old="    WHERE found.status = 'todo' AND deleted.lock IS NOT NULL\n",
        new="    WHERE false\n",
        test=MODEL,
    ),
    "rescheduled": Mutation(
        what="a job that is brought forward opens no gate",
        path=_CHANGE,
        old="    WHERE rescheduled.lock IS NOT NULL OR rescheduled.limit_key IS NOT NULL\n",
        new="    WHERE false\n",
        test=MODEL,
    ),
    "retried-by-hand": Mutation(
        what="a job that is retried by hand opens no gate",
        path=_CHANGE,
        old="    WHERE retried.lock IS NOT NULL OR retried.limit_key IS NOT NULL\n",
        new="    WHERE false\n",
        test=MODEL,
    ),
    "paused-queue": Mutation(
        what="a claim that is told a paused queue takes jobs of it",
        path=_CLAIM,
        old="        WHERE range.queue_name <> ALL(paused_queues) AND coalesce(visited.room, 1) > 0;\n",
        new="        WHERE coalesce(visited.room, 1) > 0;\n",
        test=MODEL,
    ),
    "paused-task-in-a-run": Mutation(
        what="a run of a lock goes on with a job of a paused task",
        path=_CLAIM_LOCKS,
        old=" AND numbered.task_name <> ALL(paused_tasks)\n",
        new="\n",
        test="tests/sql/test_task_pauses.py::test_a_run_of_a_lock_ends_before_a_job_whose_task_is_paused",
    ),
    "resumed-lock": Mutation(
        what="the locks of jobs are not opened when their task is resumed",
        path=_PAUSES,
        old="        WHERE let_in.lock IS NOT NULL OR let_in.limit_key IS NOT NULL\n",
        new="        WHERE false\n",
        test=MODEL,
    ),
    "limit-in-a-run": Mutation(
        what="a run of a lock goes on with a job that has a limit",
        path=_CLAIM_LOCKS,
        old="                    AND numbered.limit_key IS NULL AND numbered",
        new="                    AND numbered",
        test=MODEL,
    ),
    "limit-of-a-key": Mutation(
        what="what is said of a whole limit goes before what is said of a key",
        path=_LIMITS,
        old="        coalesce(own.concurrency, whole.concurrency, declared.concurrency),\n",
        new="        coalesce(whole.concurrency, own.concurrency, declared.concurrency),\n",
        test=MODEL,
    ),
    "rate-given-back": Mutation(
        what="a job that goes back before it began does not give its start back",
        path=_LIMITS,
        old="            nullif(count(*) FILTER (WHERE freed.unstarted), 0)\n",
        new="            null\n",
        test="tests/sql/test_limits.py::test_a_job_that_goes_back_before_it_began_gives_its_start_back",
    ),
    "rate-of-a-burst": Mutation(
        what="one more may start at once than a burst has",
        path=_LIMITS,
        old="            greatest(figures.burst - ceil(",
        new="            greatest(figures.burst + 1 - ceil(",
        test=MODEL,
    ),
    "rate-that-comes": Mutation(
        what="a limit whose rate lets the next job start is not opened",
        path="sql/queries/job_schedule.sql",
        old="            WHERE gate.open_at <= now()\n",
        new="            WHERE gate.open_at <= now() AND false\n",
        test=MODEL,
    ),
    "expiry-of-a-waiting-job": Mutation(
        what="the timer does not end what has not begun by its time",
        path=_EXPIRY,
        old="                WHERE job.status = 'todo' AND job.expires_at <= now()\n",
        new="                WHERE job.status = 'todo' AND job.expires_at <= now() - interval '1 day'\n",
        test=MODEL,
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
            "TASKQ_MODEL_SHORTENS": "0",
        },
        check=False,
        stdout=subprocess.PIPE,
        text=True,
    )


def found_by(name: str, mutation: Mutation, arguments: list[str]) -> str:
    """Run what is to find it on the broken code; returns what did, empty if nothing."""
    print(f"-- {name}: {mutation.what}", flush=True)
    with tempfile.TemporaryDirectory(prefix="taskq-mutation-") as scratch:
        folder = Path(scratch)
        mutate(mutation, folder)
        if mutation.test:
            # 1: a test has failed; anything else is that none ran.
            pytest = ("pytest", "-q", "-x", "--numprocesses=0", "-m", "", mutation.test)
            return mutation.test if run(folder, *pytest).returncode == 1 else ""
        lines = run(folder, "tests.stress", *arguments).stdout.splitlines()
    waves = [line for line in lines if line.startswith("wave ")]
    found = Counter(line.split(":")[0] for line in lines if re.match("[a-z]+: ", line))
    print(f"in wave {len(waves)}: {dict(found)}", flush=True)
    return ", ".join(f"tests.stress: {check}" for check in sorted(found.keys() & mutation.found_by))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*MUTATIONS, []], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    arguments = [f"--seconds={given.seconds}", f"--seed={given.seed}"]
    table = []
    for name in given.names or MUTATIONS:
        began = time.monotonic()
        found = found_by(name, MUTATIONS[name], arguments)
        table.append((name, found or "NOT FOUND", time.monotonic() - began))
        print(f"{table[-1][1]} in {table[-1][2]:.0f} s", flush=True)
    print("\n| mutation | caught by | seconds |\n|---|---|---|")
    for name, found, seconds in table:
        print(f"| {name} | {found.rpartition('::')[2] or found} | {seconds:.0f} |")
    return sum(found == "NOT FOUND" for _, found, _ in table)


if __name__ == "__main__":
    sys.exit(main())
