"""How deferring, ends, rescues and changes of jobs are broken."""

from tests.stress.mutation import INTERLEAVINGS, MODEL, Mutation

_TABLES = "sql/migrations/0001_pre_tables.sql"
_FINISH = "sql/queries/job_finish.sql"
_RESCUE = "sql/queries/job_rescue.sql"
_CHANGE = "sql/queries/job_change.sql"
_DEFER = "sql/migrations/0012_pre_defer.sql"
_OPENED_BY_FINISH = """    SELECT taskq_open_locks(array_agg(freed.lock), false, @worker_id::bigint) AS queues
    FROM (
"""
_OPENED_FREED = """    ) AS freed
    WHERE freed.lock IS NOT NULL
    HAVING count(*) > 0
"""
_FENCED = """        AND taskq_jobs.claim = ended.claim
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND NOT ended.deleted
"""

OF_JOBS = {
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
    "deferred": Mutation(
        what="a job that is deferred by itself opens no gate",
        path=_DEFER,
        old="            PERFORM taskq_open_locks(ARRAY[only_job ->> 'lock'], false);\n",
        new="            NULL;\n",
        test=MODEL,
    ),
    "rescued": Mutation(
        what="the rescue of a job opens no gate",
        path="sql/queries/job_rescue.sql",
        old="    WHERE rescued.lock IS NOT NULL\n",
        new="    WHERE rescued.lock IS NULL\n",
        test=f"{INTERLEAVINGS}[rescue and claim]",
    ),
    "cancelled-head": Mutation(
        what="the next job of a lock is not let in when the first one is cancelled",
        path="sql/queries/job_change.sql",
        old="    FROM gone\n    WHERE gone.lock IS NOT NULL\n",
        new="    FROM gone\n    WHERE gone.lock IS NULL\n",
        test=f"{INTERLEAVINGS}[cancel and claim]",
    ),
    "run-after-retry": Mutation(
        what="a worker goes on with what follows a job that is to run again",
        path="taskq/worker/executor_pool.py",
        old="        if outcome is None or outcome.status is JobStatus.TODO:\n",
        new="        if outcome is None:\n",
        test="tests/worker/test_locks.py::"
        "test_what_follows_a_job_that_is_to_run_again_goes_back_and_waits_for_it",
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
    "expiry-of-what-began": Mutation(
        what="a job that has begun, and is to run again, expires still",
        path="sql/queries/job_finish.sql",
        old="            WHEN ended.status <> 'todo' OR ended.unstarted OR ended.given_back IS NOT NULL THEN",
        new="            WHEN true THEN",
        test="tests/sql/test_expiry.py::test_only_what_goes_back_before_it_has_begun_still_expires",
    ),
    "own-commit": Mutation(
        what="a task's transaction is committed without the end of its job",
        path="taskq/worker/job_commit.py",
        old="                self._finish(connection, outcome)\n",
        new="",
        test="tests/worker/test_transaction.py::test_effects_jobs_and_the_end_come_with_one_commit",
    ),
    "fence-of-the-worker": Mutation(
        what="a worker writes the end of another worker's attempt, if the number of the claim is right",
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
        test="tests/sql/test_finish_jobs.py::test_a_worker_that_no_longer_has_the_job_changes_nothing",
    ),
    "fence-of-a-deletion": Mutation(
        what="a worker deletes a job that it has lost",
        path=_FINISH,
        old="        AND taskq_jobs.status = 'doing'\n        AND ended.deleted\n",
        new="        AND ended.deleted\n",
        test="tests/sql/test_finish_jobs.py::test_a_worker_that_no_longer_has_the_job_changes_nothing",
    ),
    "abort-of-a-retry": Mutation(
        what="a job that is to be aborted is queued again by its retry",
        path=_FINISH,
        old="            WHEN ended.status = 'todo' AND taskq_jobs.abort_requested THEN 'aborted'\n",
        new="",
        test="tests/sql/test_finish_jobs.py::test_a_job_that_is_to_be_aborted_is_not_queued_again",
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
        test="tests/sql/test_rescue_jobs.py::test_a_job_that_was_to_be_aborted_is_not_run_again",
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
        test="tests/sql/test_rescue_jobs.py::test_the_jobs_of_a_live_worker_are_not_touched",
    ),
    "deleted-head": Mutation(
        what="the next job of a lock is not let in when the first one is deleted",
        path=_CHANGE,
        old="    WHERE found.status = 'todo' AND deleted.lock IS NOT NULL\n",
        new="    WHERE false\n",
        test=f"{INTERLEAVINGS}[delete waiting and claim]",
    ),
    "rescheduled": Mutation(
        what="a job that is brought forward opens no gate",
        path=_CHANGE,
        old="    WHERE rescheduled.lock IS NOT NULL OR rescheduled.limit_key IS NOT NULL\n",
        new="    WHERE false\n",
        test=f"{INTERLEAVINGS}[bring forward and claim1]",
    ),
    "retried-by-hand": Mutation(
        what="a job that is retried by hand opens no gate",
        path=_CHANGE,
        old="    WHERE retried.lock IS NOT NULL OR retried.limit_key IS NOT NULL\n",
        new="    WHERE false\n",
        test=f"{INTERLEAVINGS}[retry by hand and claim]",
    ),
}
