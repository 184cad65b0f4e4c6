"""How claims, timers, limits and pauses are broken."""

from tests.stress.mutation import INTERLEAVINGS, MODEL, Mutation

_LIMITS = "sql/migrations/0005_pre_limits.sql"
_PAUSES = "sql/migrations/0007_pre_pauses.sql"
_EXPIRY = "sql/migrations/0008_pre_expiry.sql"
_CLAIM_LOCKS = "sql/migrations/0009_pre_claim_locks.sql"
_CLAIM_LIMITS = "sql/migrations/0010_pre_claim_limits.sql"
_CLAIM = "sql/migrations/0011_pre_claim.sql"
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

OF_CLAIMS = {
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
    "skipped-row": Mutation(
        what="a claim goes on behind a job of a lock whose row is locked",
        path=_CLAIM_LOCKS,
        old="                ELSE numbered.lock IS NULL OR numbered.place = numbered.number\n",
        new="                ELSE true\n",
        test="tests/sql/test_claim_jobs.py::test_a_row_of_jobs_ends_before_one_that_another_transaction_has",
    ),
    "skipped-head": Mutation(
        what="a claim forgets the gate of a head whose row is locked",
        path=_CLAIM,
        old="                WHERE gate.lock IN (SELECT unnest(settled))\n",
        new="                WHERE gate.lock IN (SELECT unnest(settled || run_locks))\n",
        test="tests/sql/test_claim_jobs.py::"
        "test_what_a_claim_leaves_to_a_change_under_way_is_claimed_when_that_has_ended",
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
    "promoted": Mutation(
        what="a job that becomes due opens no gate",
        path="sql/queries/job_schedule.sql",
        old="    WHERE promoted.lock IS NOT NULL OR promoted.limit_key IS NOT NULL\n",
        new="    WHERE promoted.lock IS NULL\n",
        test=MODEL,
    ),
    "limit-advisory-lock": Mutation(
        what="two claims may be at one limit",
        path=_CLAIM_LIMITS,
        old="        WHERE taskq_try_gate(best.limit_key)\n",
        new="",
        test=f"{INTERLEAVINGS}[claim and claim three]",
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
        test=f"{INTERLEAVINGS}[finish unlocked and defer limited and claim]",
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
        "test_nor_is_one_claimed_that_is_not_the_first_of_its_lock_behind_gates_left_several_times",
    ),
    "limit-no-more": Mutation(
        what="what waits at a limit no more takes the place of another job in a claim",
        path=_CLAIM_LIMITS,
        old="        IF has_parked THEN\n",
        new="        IF false THEN\n",
        test="tests/sql/test_limits.py::"
        "test_what_waited_at_a_limit_and_does_not_any_more_takes_no_place_in_a_claim",
    ),
    "limit-of-a-queue": Mutation(
        what="a claim counts only one of the limits that its jobs are in",
        path=_CLAIM,
        old="            WHERE queue_limits <> '{}' AND key.name = ANY(limits_visited)\n",
        new="            WHERE false\n",
        test="tests/sql/test_limits.py::"
        "test_a_limit_of_a_queue_counts_all_jobs_of_it_however_they_were_deferred",
    ),
    "limits-in-rounds": Mutation(
        what="a claim goes on behind no limit that has no room",
        path=_CLAIM_LIMITS,
        old="    FOR round IN 0..9 LOOP\n",
        new="    FOR round IN 0..0 LOOP\n",
        test="tests/sql/test_limits.py::"
        "test_limits_without_room_have_no_job_behind_them_overtaken_by_one_of_lower_priority",
    ),
    "place-of-what-ended": Mutation(
        what="a claim takes what waits at a gate for as urgent as the job that left it",
        path=_CLAIM_LIMITS,
        old="        EXIT WHEN (SELECT count(*) FROM unnest(priorities) AS job (priority) "
        "WHERE job.priority >= reached) >= max_jobs;\n",
        new="        EXIT WHEN cardinality(ids) >= max_jobs;\n",
        test="tests/sql/test_limits.py::"
        "test_the_place_that_a_job_of_higher_priority_leaves_has_no_other_one_overtaken",
    ),
    "start-given-back-late": Mutation(
        what="a start that is given back after its time lets another one start sooner",
        path=_LIMITS,
        old="gate.tokens * greatest(gate.claimed_at + step.pace - now(), '0 seconds')",
        new="gate.tokens * step.pace",
        test="tests/sql/test_limits.py::test_a_start_that_comes_back_late_lets_no_other_one_start_sooner",
    ),
    "start-given-back-elsewhere": Mutation(
        what="a start that came back to another queue is not taken back from the rate's row",
        path=_CLAIM_LIMITS,
        old="                        other.tokens IS NOT NULL\n                        OR (",
        new="                        (",
        test="tests/sql/test_limits.py::"
        "test_a_start_that_came_back_to_a_queue_that_is_not_served_counts_once",
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
        test="tests/sql/test_expiry.py::test_a_claim_starts_none_that_is_late_and_forgets_no_gate",
    ),
    "expired-head": Mutation(
        what="the next job of a lock is not let in when the first one expires",
        path=_EXPIRY,
        old="        FROM expired\n        WHERE expired.lock IS NOT NULL\n",
        new="        FROM expired\n        WHERE expired.lock IS NULL\n",
        test="tests/sql/test_expiry.py::test_the_head_of_a_lock_that_expires_lets_the_next_one_in",
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
        # Either alone is equivalent: the other one ends the run as well.
        and_old="            AND job.queue_name = ANY(queue_names) AND job.task_name <> ALL(paused_tasks)\n",
        and_new="            AND job.queue_name = ANY(queue_names)\n",
        test="tests/sql/test_task_pauses.py::test_a_run_of_a_lock_ends_before_a_job_whose_task_is_paused",
    ),
    "resumed-lock": Mutation(
        what="the locks of jobs are not opened when their task is resumed",
        path=_PAUSES,
        old="        WHERE let_in.lock IS NOT NULL OR let_in.limit_key IS NOT NULL\n",
        new="        WHERE false\n",
        test=f"{INTERLEAVINGS}[resume task and claim three]",
    ),
    "limit-in-a-run": Mutation(
        what="a run of a lock goes on with a job that has a limit",
        path=_CLAIM_LOCKS,
        old="                    AND numbered.limit_key IS NULL AND numbered",
        new="                    AND numbered",
        # Either alone is equivalent, as above.
        and_old="\n                    AND run.limit_key IS NOT DISTINCT FROM held.limit_key\n",
        and_new="\n",
        test="tests/sql/test_limits.py::test_a_run_of_a_lock_ends_before_a_job_with_a_limit",
    ),
    "limit-of-a-key": Mutation(
        what="what is said of a whole limit goes before what is said of a key",
        path=_LIMITS,
        old="            max(said.concurrency) FILTER (WHERE said.of_key),\n"
        "            max(said.concurrency) FILTER (WHERE said.of_all),\n",
        new="            max(said.concurrency) FILTER (WHERE said.of_all),\n"
        "            max(said.concurrency) FILTER (WHERE said.of_key),\n",
        test="tests/sql/test_limits.py::"
        "test_what_an_operator_says_goes_before_what_apps_declare_and_a_key_before_the_whole",
    ),
    "rate-given-back": Mutation(
        what="a job that goes back before it began does not give its start back",
        path=_LIMITS,
        old="            nullif(count(freed.unstarted), 0),\n",
        new="            null,\n",
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
        test=f"{INTERLEAVINGS}[promote and claim three]",
    ),
    "expiry-of-a-waiting-job": Mutation(
        what="the timer does not end what has not begun by its time",
        path=_EXPIRY,
        old="                WHERE job.status = 'todo' AND job.expires_at <= now()\n",
        new="                WHERE job.status = 'todo' AND job.expires_at <= now() - interval '1 day'\n",
        test=MODEL,
    ),
}
