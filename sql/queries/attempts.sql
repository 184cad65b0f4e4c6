-- name: FinishJobs :one
-- Writes how attempts ended, many at once, all or none: the status, the result or the error, and the
-- lock goes free. Returns the jobs that were still this worker's and what they are now, side by side: a row
-- for each of a thousand would cost a worker twice as much to read. The others have moved on (rescued, claimed
-- again) and are left as they are.
--
-- An attempt that ends as todo is a retry, a snooze or a job given back. A job that waits already with
-- the same queueing lock stands in its way: then it ends as failed, and says so. One that was to be
-- aborted does not run again, also if its worker never heard of it: it ends as aborted.
-- sqlc cannot look inside a column definition list: the casts tell it what the columns are.
WITH ended AS (
    SELECT
        outcome.job_id::bigint AS job_id,
        outcome.attempt::integer AS attempt,
        outcome.status::taskq_job_status AS status,
        outcome.held_lock::text AS held_lock,
        outcome.result::jsonb AS result,
        outcome.error_type::text AS error_type,
        outcome.error_message::text AS error_message,
        outcome.error_traceback::text AS error_traceback,
        coalesce(
            outcome.retry_at, now() + make_interval(secs => outcome.retry_in)
        )::timestamptz AS scheduled_at,
        outcome.queue_name::text AS queue_name,
        outcome.priority::integer AS priority,
        outcome.lock::text AS lock,
        coalesce(outcome.uncounted, false)::boolean AS uncounted,
        outcome.given_back::integer AS given_back,
        coalesce(outcome.deleted, false)::boolean AS deleted
    FROM jsonb_to_recordset(@outcomes::jsonb) AS outcome (
        job_id bigint,
        attempt integer,
        status taskq_job_status,
        held_lock text,
        result jsonb,
        error_type text,
        error_message text,
        error_traceback text,
        retry_at timestamptz,
        retry_in double precision,
        queue_name text,
        priority integer,
        lock text,
        uncounted boolean,
        given_back integer,
        deleted boolean
    )
),

barred AS (
    SELECT
        retried.job_id,
        retried.queueing_lock
    FROM (
        SELECT
            ended.job_id,
            job.queueing_lock,
            row_number() OVER (PARTITION BY job.queueing_lock ORDER BY ended.job_id) AS place
        FROM ended
        INNER JOIN taskq_jobs AS job ON ended.job_id = job.id
        WHERE
            ended.status = 'todo' AND job.queueing_lock IS NOT NULL
            -- A job that has moved on stands in nobody's way. IS NOT DISTINCT FROM, as no index can be searched
            -- by it: one plan in two hundred (by chance of what ANALYZE samples, in a session that does not
            -- force generic plans) read all that the worker runs once for each job that ended.
            AND job.attempt = ended.attempt
            AND job.worker_id IS NOT DISTINCT FROM @worker_id::bigint
            AND job.status = 'doing'
            AND NOT job.abort_requested
            AND NOT ended.deleted
    ) AS retried
    WHERE
        retried.place > 1
        OR EXISTS (
            SELECT FROM taskq_jobs AS other
            WHERE other.status = 'todo' AND other.queueing_lock = retried.queueing_lock
        )
),

finished AS (
    UPDATE taskq_jobs
    SET
        status = CASE
            WHEN barred.job_id IS NOT NULL THEN 'failed'
            WHEN ended.status = 'todo' AND taskq_jobs.abort_requested THEN 'aborted'
            ELSE ended.status
        END,
        finished_at = CASE
            WHEN
                ended.status = 'todo' AND barred.job_id IS NULL
                AND NOT taskq_jobs.abort_requested
                THEN null
            ELSE now()
        END,
        result = ended.result,
        scheduled_at = coalesce(ended.scheduled_at, taskq_jobs.scheduled_at),
        due = coalesce(ended.scheduled_at <= now(), true),
        queue_name = coalesce(ended.queue_name, taskq_jobs.queue_name),
        priority = coalesce(ended.priority, taskq_jobs.priority),
        lock = coalesce(ended.lock, taskq_jobs.lock),
        uncounted = least(taskq_jobs.uncounted, 999999999) + ended.uncounted::integer,
        given_back = ended.given_back
    FROM ended
    LEFT JOIN barred ON ended.job_id = barred.job_id
    WHERE
        taskq_jobs.id = ended.job_id
        AND taskq_jobs.attempt = ended.attempt
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND NOT ended.deleted
    RETURNING
        taskq_jobs.id,
        taskq_jobs.status,
        taskq_jobs.queue_name,
        taskq_jobs.due,
        taskq_jobs.scheduled_at
),

deleted AS (
    DELETE FROM taskq_jobs
    USING ended
    WHERE
        taskq_jobs.id = ended.job_id
        AND taskq_jobs.attempt = ended.attempt
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND ended.deleted
    RETURNING taskq_jobs.id
),

freed AS (
    DELETE FROM taskq_locks
    USING ended
    WHERE
        taskq_locks.lock = ended.held_lock
        AND taskq_locks.job_id = ended.job_id
        AND ended.job_id IN (
            SELECT finished.id FROM finished
            UNION ALL
            SELECT deleted.id FROM deleted
        )
),

explained AS (
    INSERT INTO taskq_failed_attempts (
        job_id, attempt, worker_id, error_type, error_message, error_traceback
    )
    SELECT
        ended.job_id,
        ended.attempt,
        @worker_id::bigint,
        coalesce(ended.error_type, 'taskq.exceptions.AlreadyEnqueued'),
        concat_ws(
            '; ',
            ended.error_message,
            'not queued again: another job with the queueing lock '
            || quote_literal(barred.queueing_lock) || ' waits already'
        ),
        coalesce(ended.error_traceback, '')
    FROM ended
    LEFT JOIN barred ON ended.job_id = barred.job_id
    WHERE
        (ended.error_type IS NOT NULL OR barred.job_id IS NOT NULL)
        AND ended.job_id IN (SELECT finished.id FROM finished)
    -- Whoever sets a job's attempt back by hand has it fail for the same one again.
    ON CONFLICT (job_id, attempt) DO UPDATE
    SET
        worker_id = excluded.worker_id,
        failed_at = excluded.failed_at,
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        error_traceback = excluded.error_traceback
),

announced AS (
    SELECT
        pg_notify(
            taskq_channel(),
            CASE
                WHEN queue.due THEN taskq_ready(queue.name)
                ELSE taskq_later(queue.name, queue.scheduled_at)
            END
        )
    FROM (
        SELECT
            finished.queue_name AS name,
            finished.due,
            min(finished.scheduled_at) AS scheduled_at
        FROM finished
        WHERE finished.status = 'todo'
        GROUP BY finished.queue_name, finished.due
    ) AS queue
)

SELECT
    coalesce(array_agg(ended.job_id), '{}')::bigint [] AS ids,
    coalesce(array_agg(coalesce(finished.status, ended.status)::text), '{}')::text [] AS statuses,
    (SELECT count(*) FROM announced)::bigint AS announced
FROM ended
LEFT JOIN finished ON ended.job_id = finished.id
LEFT JOIN deleted ON ended.job_id = deleted.id
WHERE finished.id IS NOT NULL OR deleted.id IS NOT NULL;

-- name: ListDoingJobs :many
-- What a worker has in hand as the database sees it: which of it is to be aborted, and by what is
-- missing, which of it was given to somebody else.
SELECT
    id,
    attempt,
    lock,
    abort_requested
FROM taskq_jobs
WHERE status = 'doing' AND worker_id = @worker_id::bigint;

-- name: RescueJobs :many
-- Takes the jobs of dead workers back into the queue, and ends those that killed theirs. A worker is dead
-- when its heartbeat is too old, or no time at all; its row goes with the same statement, so of many rescuers
-- one does the work. Jobs of a worker without a row wait as long as a heartbeat may. A job that meets its own queueing
-- lock ends as failed, as in FinishJobs; one that was to be aborted ends as aborted. Locks that no running
-- job holds go free as well: whoever changed the jobs by hand would otherwise stop a lock's jobs for ever.
--
-- Who killed the worker is not known, so a crash is a suspicion and no proof. It counts for the jobs that may
-- have been running: as many as the worker runs at once, the first in the order in which it begins them. What
-- it had only claimed goes back as if it had not been claimed. If the worker was asked to stop, whoever asked
-- has probably lost patience and killed it: no crash counts.
--
-- A job fails for its crashes only if it was all that its worker had in hand when that died, and the row of
-- the worker was there to say so: then nothing else can have done it. A worker runs a job alone once one more
-- crash would end it (suspicion.py). So the killer is found, and nobody else ends:
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
            -- What no claim writes: nobody else would ever find them.
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
        ordered.attempt,
        ordered.worker_id,
        ordered.lock,
        ordered.queueing_lock,
        ordered.abort_requested,
        ordered.has_begun,
        ordered.crashes + (ordered.has_begun AND ordered.is_crash)::integer AS crashes,
        ordered.has_witness AND ordered.crashes + 1 >= @max_crashes::integer
        -- In the table, as another one may have been locked by somebody else just now.
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
        uncounted = least(taskq_jobs.uncounted, 999999999) + (NOT judged.has_begun)::integer,
        given_back = CASE WHEN NOT judged.has_begun THEN taskq_jobs.given_back END
    FROM judged
    -- The array says twice what the join says, so that the planner does not read the whole table.
    WHERE
        taskq_jobs.id = judged.id
        AND taskq_jobs.id = ANY(ARRAY(SELECT lost.id FROM lost))
    RETURNING
        taskq_jobs.id,
        taskq_jobs.status,
        taskq_jobs.queue_name,
        taskq_jobs.crashes,
        judged.has_begun
),

freed AS (
    DELETE FROM taskq_locks
    USING judged
    WHERE taskq_locks.lock = judged.lock AND taskq_locks.job_id = judged.id
),

orphaned AS (
    DELETE FROM taskq_locks
    WHERE
        NOT EXISTS (
            SELECT FROM taskq_jobs AS job
            WHERE job.id = taskq_locks.job_id AND job.status = 'doing'
        )
),

explained AS (
    INSERT INTO taskq_failed_attempts (
        job_id, attempt, worker_id, error_type, error_message, error_traceback
    )
    SELECT
        judged.id,
        judged.attempt,
        coalesce(judged.worker_id, 0),
        'taskq.exceptions.WorkerDied',
        judged.event || coalesce(judged.ending, ''),
        ''
    FROM judged
    WHERE judged.has_begun OR judged.ending IS NOT NULL
    ON CONFLICT (job_id, attempt) DO UPDATE
    SET
        worker_id = excluded.worker_id,
        failed_at = excluded.failed_at,
        error_type = excluded.error_type,
        error_message = excluded.error_message,
        error_traceback = excluded.error_traceback
),

-- A job that failed may have been the head of a lock: its own queue is told as well, which is right
-- more often than not; the poll does the rest.
announced AS (
    SELECT pg_notify(taskq_channel(), taskq_ready(queue.name))
    FROM (SELECT DISTINCT rescued.queue_name AS name FROM rescued) AS queue
)

SELECT
    rescued.id,
    rescued.status,
    rescued.crashes,
    rescued.has_begun::boolean AS has_begun,
    (SELECT count(*) FROM announced)::bigint AS announced
FROM rescued;

-- name: ListFailedAttempts :many
SELECT * FROM taskq_failed_attempts
WHERE job_id = @job_id::bigint
ORDER BY attempt;

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
