-- name: RescueJobs :many
-- Takes the jobs of dead workers back into the queue, and ends those that killed theirs. A worker is dead
-- when its heartbeat is too old, or no time at all; its row goes with the same statement, so of many rescuers
-- one does the work. Jobs of a worker without a row wait as long as a heartbeat may. A job that meets its own queueing
-- lock ends as failed, as in FinishJobs; one that was to be aborted ends as aborted.
--
-- Who killed the worker is not known, so a crash is a suspicion and no proof. It counts for the jobs that may
-- have been running: as many as the worker runs at once, the first in the order in which it begins them. What
-- it had only claimed goes back as if it had not been claimed. If the worker was asked to stop, it was
-- probably killed for taking too long: no crash counts.
--
-- A job fails for its crashes only if it was all that its worker had in hand when that died, and the row of
-- the worker was there to say so: then nothing else can have done it. A worker runs a job alone once one more
-- crash would end it (suspicion.py). So the killer is found, and no other job ends:
-- * An innocent job that was counted beside it ends up alone at worst. Alone it does not die, and is done.
-- * A worker that claims a job with a crash becomes careful: it begins no more jobs than it runs at once
--   before the ends of earlier ones are written. The jobs that count are then all that it has begun and not
--   written, the killer among them; so it counts one more at each further death, until it is alone.
-- * Jobs that kill only together part in this way, and are done.
WITH dead AS (
    DELETE FROM taskq_workers
    WHERE
        last_heartbeat < now() - make_interval(secs => @stalled_after::double precision)
        OR last_heartbeat = 'infinity'
    RETURNING id, concurrency, stopping
),

lost AS (
    SELECT
        job.id,
        job.claim,
        job.attempt,
        job.worker_id,
        job.lock,
        job.queueing_lock,
        job.priority,
        job.started_at,
        job.abort_requested,
        -- As far as an integer goes: one row must not make the rescue of all fail.
        least(job.crashes, 999999999) AS crashes
    FROM taskq_jobs AS job
    WHERE
        job.status = 'doing'
        AND (
            job.worker_id IN (SELECT dead.id FROM dead)
            OR (
                job.worker_id NOT IN (SELECT taskq_workers.id FROM taskq_workers)
                AND job.started_at < now() - make_interval(secs => @stalled_after::double precision)
            )
            -- What no claim writes: nothing else would find them.
            OR job.worker_id IS NULL
            OR job.started_at IS NULL
            OR job.started_at = 'infinity'
        )
    FOR UPDATE OF job SKIP LOCKED
),

ordered AS (
    SELECT
        lost.*,
        dead.id IS NOT NULL AND NOT dead.stopping AS has_witness,
        coalesce(NOT dead.stopping, true) AS is_crash,
        row_number() OVER (
            PARTITION BY lost.worker_id ORDER BY lost.started_at, lost.priority DESC, lost.id
        ) <= coalesce(dead.concurrency, 2147483647) AS has_begun
    FROM lost
    LEFT JOIN dead ON lost.worker_id = dead.id
),

suspected AS (
    SELECT
        ordered.id,
        ordered.claim,
        ordered.attempt,
        ordered.worker_id,
        ordered.lock,
        ordered.queueing_lock,
        ordered.abort_requested,
        ordered.has_begun,
        ordered.crashes + (ordered.has_begun AND ordered.is_crash)::integer AS crashes,
        ordered.has_witness AND ordered.crashes + 1 >= @max_crashes::integer
        -- In the table, as another transaction may have locked another one just now.
        AND (
            SELECT count(*)
            FROM taskq_jobs AS job
            WHERE job.status = 'doing' AND job.worker_id = ordered.worker_id
        ) = 1 AS is_culprit
    FROM ordered
),

judged AS (
    SELECT
        suspected.id,
        suspected.claim,
        suspected.attempt,
        suspected.worker_id,
        suspected.lock,
        suspected.crashes,
        suspected.has_begun,
        suspected.abort_requested,
        CASE
            WHEN suspected.has_begun THEN 'its worker died while the job ran'
            ELSE 'its worker died before the job began'
        END AS event,
        CASE
            WHEN suspected.abort_requested THEN ', and was to abort it'
            WHEN suspected.is_culprit
                THEN format(', crash number %s, and ran nothing else: it is not tried again', suspected.crashes)
            WHEN
                -- Not EXISTS: for many lost jobs, the planner would rather read the whole table.
                (
                    SELECT other.id
                    FROM taskq_jobs AS other
                    WHERE other.status = 'todo' AND other.queueing_lock = suspected.queueing_lock
                    LIMIT 1
                ) IS NOT NULL
                OR (
                    suspected.queueing_lock IS NOT NULL
                    AND row_number() OVER (
                        PARTITION BY suspected.queueing_lock, suspected.abort_requested OR suspected.is_culprit
                        ORDER BY suspected.id
                    ) > 1
                )
                THEN
                    '; not queued again: another job with the queueing lock '
                    || quote_literal(suspected.queueing_lock) || ' waits already'
        END AS ending
    FROM suspected
),

rescued AS (
    UPDATE taskq_jobs
    SET
        status = CASE
            WHEN judged.ending IS NULL THEN 'todo'
            WHEN judged.abort_requested THEN 'aborted'
            ELSE 'failed'
        END::taskq_job_status,
        finished_at = CASE WHEN judged.ending IS NOT NULL THEN now() END,
        due = true,
        crashes = judged.crashes,
        -- Not below 0, as in FinishJobs.
        attempt = CASE WHEN judged.has_begun THEN judged.attempt ELSE greatest(judged.attempt, 1) - 1 END,
        given_back = CASE WHEN NOT judged.has_begun THEN taskq_jobs.given_back END,
        expires_at = CASE WHEN NOT judged.has_begun THEN taskq_jobs.expires_at END
    FROM judged
    -- The array says twice what the join says, so that the planner does not read the whole table.
    WHERE
        taskq_jobs.id = judged.id
        AND taskq_jobs.id = ANY(ARRAY(SELECT lost.id FROM lost))
    RETURNING
        taskq_jobs.id,
        taskq_jobs.task_name,
        taskq_jobs.queue_name,
        taskq_jobs.status,
        taskq_jobs.crashes,
        taskq_jobs.started_at,
        taskq_jobs.lock,
        taskq_jobs.limit_key,
        taskq_jobs.priority,
        judged.has_begun
),

opened AS (
    SELECT taskq_open_locks(array_agg(rescued.lock)) AS queues
    FROM rescued
    WHERE rescued.lock IS NOT NULL
    HAVING count(*) > 0
),

freed AS (
    SELECT
        taskq_free_limits(
            array_agg(rescued.limit_key), array_agg(rescued.queue_name), array_agg(rescued.priority),
            array_agg(null::timestamptz)
        ) AS queues
    FROM rescued
    HAVING count(*) > 0
),

explained AS (
    INSERT INTO taskq_failed_attempts (
        job_id, claim, attempt, worker_id, error_type, error_message, error_traceback, started_at
    )
    SELECT
        judged.id,
        judged.claim,
        judged.attempt,
        coalesce(judged.worker_id, 0),
        'taskq.exceptions.WorkerDied',
        judged.event || coalesce(judged.ending, ''),
        '',
        rescued.started_at
    FROM judged
    INNER JOIN rescued ON judged.id = rescued.id
    WHERE judged.has_begun OR judged.ending IS NOT NULL
    ON CONFLICT (job_id, claim) DO UPDATE
    SET
        attempt = excluded.attempt,
        worker_id = excluded.worker_id,
        failed_at = excluded.failed_at,
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        error_traceback = excluded.error_traceback,
        started_at = excluded.started_at
),

announced AS (
    SELECT taskq_notify(rescued.queue_name)
    FROM rescued
    GROUP BY rescued.queue_name
)

SELECT
    rescued.id,
    rescued.task_name,
    rescued.queue_name,
    rescued.status,
    rescued.crashes,
    rescued.has_begun::boolean AS has_begun,
    (SELECT count(*) FROM announced)::bigint AS announced,
    (
        (SELECT coalesce(sum(opened.queues), 0) FROM opened)
        + (SELECT coalesce(sum(freed.queues), 0) FROM freed)
    )::bigint AS opened
FROM rescued;

-- name: ListStalledJobs :many
-- The jobs of dead workers: those that RescueJobs would take back into the queue.
SELECT job.*
FROM taskq_jobs AS job
LEFT JOIN taskq_workers AS worker ON job.worker_id = worker.id
WHERE
    job.status = 'doing'
    AND coalesce(nullif(coalesce(worker.last_heartbeat, job.started_at), 'infinity'), '-infinity')
    < now() - make_interval(secs => @stalled_after::double precision)
    AND (sqlc.narg(queue_name)::text IS NULL OR job.queue_name = sqlc.narg(queue_name)::text)
    AND (sqlc.narg(task_name)::text IS NULL OR job.task_name = sqlc.narg(task_name)::text)
ORDER BY job.id;

-- name: OpenForgottenGates :one
-- Opens what nothing bars any more and nothing has opened, as after a change by hand: locks whose first job is due and
-- which nothing holds, and limits that have room. It looks among the next max_gates of each after a name, by bytes, and
-- answers with the last of them; empty: there are no more. What rates have not used for a while says nothing, and goes.
WITH RECURSIVE lock_step AS (
    (
        SELECT
            job.lock,
            1 AS number
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND job.lock IS NOT NULL AND job.lock > @after_lock::text
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    )
    UNION ALL
    SELECT
        following.lock,
        lock_step.number + 1
    FROM lock_step
    CROSS JOIN LATERAL (
        SELECT job.lock
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND job.lock IS NOT NULL AND job.lock > lock_step.lock
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    ) AS following
    WHERE lock_step.number < @max_gates::integer
),

limit_step AS (
    SELECT
        taskq_next_limit_key(@after_limit::text) AS limit_key,
        1 AS number
    UNION ALL
    SELECT
        taskq_next_limit_key(limit_step.limit_key),
        limit_step.number + 1
    FROM limit_step
    WHERE limit_step.limit_key IS NOT NULL AND limit_step.number < @max_gates::integer
),

opened_locks AS (
    SELECT taskq_open_locks(array_agg(lock_step.lock)) AS queues
    FROM lock_step
    CROSS JOIN LATERAL taskq_lock_head(lock_step.lock) AS head (id, priority, queue_name, due, limit_key)
    WHERE
        head.due
        -- OFFSET 0 keeps each a probe of an index: where the planner has seen no gates yet, it would compare each lock
        -- with each of them.
        AND NOT EXISTS (SELECT FROM taskq_lock_holder(lock_step.lock) AS holder (id, worker_id))
        AND NOT EXISTS (
            SELECT FROM taskq_open_gates AS gate
            WHERE
                gate.queue_name = head.queue_name
                AND gate.priority = head.priority
                AND gate.job_id = head.id
                AND gate.limit_key IS NULL
            OFFSET 0
        )
        AND NOT EXISTS (
            SELECT FROM taskq_open_gates AS gate
            WHERE gate.limit_key = head.limit_key AND gate.lock = lock_step.lock
            OFFSET 0
        )
    HAVING count(*) > 0
),

opened_limits AS (
    SELECT taskq_open_limits(array_agg(limit_step.limit_key)) AS queues
    FROM limit_step
    CROSS JOIN LATERAL taskq_limit_state(limit_step.limit_key) AS state (running, room, next_at, pace)
    WHERE
        limit_step.limit_key IS NOT NULL AND (state.room > 0 OR state.running = 0)
        AND NOT EXISTS (SELECT FROM taskq_limit_gates AS gate WHERE gate.limit_key = limit_step.limit_key OFFSET 0)
    HAVING count(*) > 0
),

unused AS (
    DELETE FROM taskq_limit_rates
    WHERE
        limit_key = ANY(ARRAY(
            SELECT used.limit_key
            FROM taskq_limit_rates AS used
            WHERE used.spent_until < now() - interval '1 minute'
            LIMIT 1000
            FOR UPDATE SKIP LOCKED
        ))
        AND spent_until < now() - interval '1 minute'
    RETURNING limit_key
)

SELECT
    coalesce((SELECT max(lock_step.lock) FROM lock_step), '')::text AS last_lock,
    coalesce((SELECT max(limit_step.limit_key) FROM limit_step), '')::text AS last_limit,
    (
        (SELECT coalesce(sum(opened_locks.queues), 0) FROM opened_locks)
        + (SELECT coalesce(sum(opened_limits.queues), 0) FROM opened_limits)
    )::bigint AS opened,
    (SELECT count(*) FROM unused)::bigint AS unused;
