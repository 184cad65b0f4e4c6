-- name: FinishJobs :one
-- Writes how attempts ended, many at once, all or none: the status, the result or the error, and the
-- lock goes free. Returns the jobs that were still this worker's and what they are now, side by side: a row
-- for each of a thousand would cost a worker twice as much to read. The others have moved on (rescued, claimed
-- again) and are left as they are.
--
-- An attempt that ends as todo is a retry, a snooze or a job given back. A job that waits already with
-- the same queueing lock conflicts with it: then it ends as failed, and says so. One that was to be
-- aborted does not run again, also if its worker was not notified: it ends as aborted.
-- sqlc cannot look inside a column definition list: the casts tell it what the columns are.
WITH ended AS (
    SELECT
        outcome.job_id::bigint AS job_id,
        outcome.claim::integer AS claim,
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
        coalesce(outcome.keeps_attempt, false)::boolean AS keeps_attempt,
        outcome.given_back::integer AS given_back,
        outcome.progress::jsonb AS progress,
        coalesce(outcome.deleted, false)::boolean AS deleted,
        coalesce(outcome.unstarted, false)::boolean AS unstarted,
        outcome.held_queue::text AS held_queue
    FROM jsonb_to_recordset(@outcomes::jsonb) AS outcome (
        job_id bigint,
        claim integer,
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
        keeps_attempt boolean,
        given_back integer,
        progress jsonb,
        deleted boolean,
        unstarted boolean,
        held_queue text
    )
),

conflicting AS (
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
            -- A job that has moved on conflicts with none. IS NOT DISTINCT FROM, as no index can be searched
            -- by it: one plan in two hundred (by chance of what ANALYZE samples, in a session that does not
            -- force generic plans) read all that the worker runs once for each job that ended.
            AND job.claim = ended.claim
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
            WHEN conflicting.job_id IS NOT NULL THEN 'failed'
            WHEN ended.status = 'todo' AND taskq_jobs.abort_requested THEN 'aborted'
            ELSE ended.status
        END,
        finished_at = CASE
            WHEN
                ended.status = 'todo' AND conflicting.job_id IS NULL
                AND NOT taskq_jobs.abort_requested
                THEN null
            -- Not now(): a task's own transaction, which the end is a part of, began before the work.
            ELSE statement_timestamp()
        END,
        result = ended.result,
        scheduled_at = coalesce(ended.scheduled_at, taskq_jobs.scheduled_at),
        due = coalesce(ended.scheduled_at <= now(), true),
        queue_name = coalesce(ended.queue_name, taskq_jobs.queue_name),
        priority = coalesce(ended.priority, taskq_jobs.priority),
        lock = coalesce(ended.lock, taskq_jobs.lock),
        -- Not below 0, whatever was written by hand: one row must not make the ends of all fail.
        attempt = CASE
            WHEN ended.keeps_attempt THEN greatest(taskq_jobs.attempt, 1) - 1
            ELSE taskq_jobs.attempt
        END,
        given_back = ended.given_back,
        -- What has begun, and is to run again, does not expire.
        expires_at = CASE
            WHEN ended.status <> 'todo' OR ended.unstarted OR ended.given_back IS NOT NULL THEN taskq_jobs.expires_at
        END,
        progress = coalesce(
            ended.progress || jsonb_build_object('claim', taskq_jobs.claim, 'reported_at', now()),
            taskq_jobs.progress
        )
    FROM ended
    LEFT JOIN conflicting ON ended.job_id = conflicting.job_id
    WHERE
        taskq_jobs.id = ended.job_id
        AND taskq_jobs.claim = ended.claim
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND NOT ended.deleted
    RETURNING
        taskq_jobs.id,
        taskq_jobs.status,
        taskq_jobs.queue_name,
        taskq_jobs.due,
        taskq_jobs.scheduled_at,
        taskq_jobs.started_at,
        taskq_jobs.claim,
        -- The one that ended, used up or not.
        taskq_jobs.attempt + ended.keeps_attempt::integer AS attempt,
        taskq_jobs.lock,
        taskq_jobs.limit_key,
        taskq_jobs.priority,
        coalesce(ended.held_queue, taskq_jobs.queue_name) AS held_queue,
        ended.unstarted,
        ended.error_type,
        ended.error_message,
        ended.error_traceback,
        conflicting.queueing_lock AS conflicting_lock
),

deleted AS (
    DELETE FROM taskq_jobs
    USING ended
    WHERE
        taskq_jobs.id = ended.job_id
        AND taskq_jobs.claim = ended.claim
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
        AND ended.deleted
    RETURNING taskq_jobs.id, taskq_jobs.queue_name, taskq_jobs.priority, taskq_jobs.limit_key
),

-- After them, with a snapshot of its own: what a claim has left to these jobs' ends it sees.
opened AS (
    SELECT taskq_open_locks(array_agg(freed.lock), false, @worker_id::bigint) AS queues
    FROM (
        SELECT ended.held_lock AS lock
        FROM ended
        WHERE ended.job_id IN (SELECT finished.id FROM finished UNION ALL SELECT deleted.id FROM deleted)
        UNION ALL
        SELECT finished.lock FROM finished
        WHERE finished.status = 'todo'
    ) AS freed
    WHERE freed.lock IS NOT NULL
    HAVING count(*) > 0
),

gone AS (
    SELECT
        finished.limit_key,
        finished.held_queue AS queue_name,
        finished.priority,
        CASE WHEN finished.unstarted THEN finished.started_at END AS unstarted
    FROM finished
    UNION ALL
    SELECT
        deleted.limit_key,
        deleted.queue_name,
        deleted.priority,
        null AS unstarted
    FROM deleted
    UNION ALL
    -- One that is to run again waits, perhaps in another queue.
    SELECT
        finished.limit_key,
        finished.queue_name,
        finished.priority,
        null AS unstarted
    FROM finished
    WHERE finished.status = 'todo' AND finished.queue_name <> finished.held_queue
),

freed AS (
    SELECT
        taskq_free_limits(
            array_agg(gone.limit_key), array_agg(gone.queue_name), array_agg(gone.priority), array_agg(gone.unstarted)
        ) AS queues
    FROM gone
    WHERE gone.limit_key IS NOT NULL OR EXISTS (SELECT FROM taskq_queue_limits)
    HAVING count(*) > 0
),

explained AS (
    INSERT INTO taskq_failed_attempts (
        job_id, claim, attempt, worker_id, error_type, error_message, error_traceback, started_at
    )
    SELECT
        finished.id,
        finished.claim,
        finished.attempt,
        @worker_id::bigint,
        coalesce(finished.error_type, 'taskq.exceptions.AlreadyEnqueued'),
        concat_ws(
            '; ',
            finished.error_message,
            'not queued again: another job with the queueing lock '
            || quote_literal(finished.conflicting_lock) || ' waits already'
        ),
        coalesce(finished.error_traceback, ''),
        finished.started_at
    FROM finished
    WHERE finished.error_type IS NOT NULL OR finished.conflicting_lock IS NOT NULL
    -- A job whose claim was set back by hand fails for the same one again.
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
    SELECT taskq_notify(finished.queue_name, finished.due, min(finished.scheduled_at))
    FROM finished
    WHERE finished.status = 'todo'
    GROUP BY finished.queue_name, finished.due
)

SELECT
    coalesce(array_agg(ended.job_id), '{}')::bigint [] AS ids,
    coalesce(array_agg(coalesce(finished.status, ended.status)::text), '{}')::text [] AS statuses,
    (SELECT count(*) FROM announced)::bigint AS announced,
    (
        (SELECT coalesce(sum(opened.queues), 0) FROM opened)
        + (SELECT coalesce(sum(freed.queues), 0) FROM freed)
    )::bigint AS opened
FROM ended
LEFT JOIN finished ON ended.job_id = finished.id
LEFT JOIN deleted ON ended.job_id = deleted.id
WHERE finished.id IS NOT NULL OR deleted.id IS NOT NULL;

-- name: ListDoingJobs :many
-- What a worker has in hand as the database sees it: which of it is to be aborted, and by what is
-- missing, which of it was given to another worker.
SELECT
    id,
    claim,
    lock,
    abort_requested
FROM taskq_jobs
WHERE status = 'doing' AND worker_id = @worker_id::bigint;
