-- name: CancelJobs :many
-- Of some jobs, if they still have one of the statuses: one that waits ends at once (or goes, if it is to
-- be deleted); one that runs is flagged and its worker notified, if aborting is meant. Answers for each that
-- there is what it found, and whether any of that happened.
--
-- It locks first and reads the status then: a job that is claimed in that very moment is asked to
-- abort, where a condition on the table itself would still see it wait, and do nothing.
WITH found AS (
    SELECT
        id,
        status
    FROM taskq_jobs
    WHERE id = ANY(@ids::bigint []) AND status = ANY(@statuses::taskq_job_status [])
    ORDER BY id
    FOR UPDATE
),

cancelled AS (
    UPDATE taskq_jobs
    SET
        status = 'cancelled',
        finished_at = now()
    FROM found
    WHERE
        taskq_jobs.id = found.id AND found.status = 'todo'
        AND NOT @delete_job::boolean
    RETURNING taskq_jobs.id, taskq_jobs.lock
),

deleted AS (
    DELETE FROM taskq_jobs
    USING found
    WHERE
        taskq_jobs.id = found.id AND found.status = 'todo'
        AND @delete_job::boolean
    RETURNING taskq_jobs.id, taskq_jobs.lock
),

flagged AS (
    UPDATE taskq_jobs
    SET abort_requested = true
    FROM found
    WHERE
        taskq_jobs.id = found.id AND found.status = 'doing'
        AND @abort::boolean
    RETURNING taskq_jobs.id, taskq_jobs.worker_id
),

notified AS (
    SELECT pg_notify(taskq_channel(), taskq_abort(worker.id))
    FROM (SELECT DISTINCT flagged.worker_id AS id FROM flagged) AS worker
),

gone AS (
    SELECT
        cancelled.id,
        cancelled.lock
    FROM cancelled
    UNION ALL
    SELECT
        deleted.id,
        deleted.lock
    FROM deleted
),

-- They may have been the heads of their locks.
opened AS (
    SELECT taskq_open_locks(array_agg(gone.lock)) AS queues
    FROM gone
    WHERE gone.lock IS NOT NULL
    HAVING count(*) > 0
)

SELECT
    found.id,
    found.status,
    (gone.id IS NOT NULL OR flagged.id IS NOT NULL)::boolean AS done,
    (SELECT count(*) FROM notified)::bigint AS notified,
    (SELECT coalesce(sum(opened.queues), 0) FROM opened)::bigint AS opened
FROM found
LEFT JOIN gone ON found.id = gone.id
LEFT JOIN flagged ON found.id = flagged.id
ORDER BY found.id;

-- name: RetryJobs :many
-- Puts jobs that failed, were cancelled or were aborted back into the queue, if they still have one of the
-- statuses. Answers for each that there is what it found, whether it was put back, and if that was not for
-- its queueing lock: which job waits with it already (0: one of the same call). A wait counts from the statement,
-- as the transaction may have begun long ago.
WITH found AS (
    SELECT
        id,
        status,
        queueing_lock
    FROM taskq_jobs
    WHERE id = ANY(@ids::bigint []) AND status = ANY(@statuses::taskq_job_status [])
    ORDER BY id
    FOR UPDATE
),

moment AS (
    SELECT
        coalesce(
            sqlc.narg(retry_at)::timestamptz,
            statement_timestamp() + make_interval(secs => sqlc.narg(retry_in)::double precision),
            statement_timestamp()
        ) AS scheduled_at
),

classified AS (
    SELECT
        final.id,
        CASE
            WHEN
                final.queueing_lock IS NOT NULL
                AND row_number() OVER (PARTITION BY final.queueing_lock ORDER BY final.id) > 1
                THEN 0
            ELSE (
                SELECT other.id
                FROM taskq_jobs AS other
                WHERE other.status = 'todo' AND other.queueing_lock = final.queueing_lock
                LIMIT 1
            )
        END AS conflicting_id
    FROM found AS final
    WHERE final.status IN ('failed', 'cancelled', 'aborted')
),

retried AS (
    UPDATE taskq_jobs
    SET
        status = 'todo',
        scheduled_at = moment.scheduled_at,
        due = moment.scheduled_at <= statement_timestamp(),
        finished_at = null,
        abort_requested = false,
        given_back = null,
        paused = null,
        result = null,
        expires_at = null,
        priority = coalesce(sqlc.narg(priority)::integer, taskq_jobs.priority),
        queue_name = coalesce(sqlc.narg(queue_name)::text, taskq_jobs.queue_name),
        lock = coalesce(sqlc.narg(lock)::text, taskq_jobs.lock)
    FROM classified
    CROSS JOIN moment
    WHERE taskq_jobs.id = classified.id AND classified.conflicting_id IS NULL
    RETURNING
        taskq_jobs.id,
        taskq_jobs.queue_name,
        taskq_jobs.due,
        taskq_jobs.scheduled_at,
        taskq_jobs.lock,
        taskq_jobs.limit_key
),

opened AS (
    SELECT taskq_open_for_jobs(array_agg(retried.lock), array_agg(retried.limit_key), false) AS queues
    FROM retried
    WHERE retried.lock IS NOT NULL OR retried.limit_key IS NOT NULL
    HAVING count(*) > 0
),

announced AS (
    SELECT taskq_notify(retried.queue_name, retried.due, min(retried.scheduled_at))
    FROM retried
    GROUP BY retried.queue_name, retried.due
)

SELECT
    found.id,
    found.status,
    (retried.id IS NOT NULL)::boolean AS done,
    found.queueing_lock,
    coalesce(classified.conflicting_id, 0)::bigint AS conflicting_id,
    (SELECT count(*) FROM announced)::bigint AS announced,
    (SELECT coalesce(sum(opened.queues), 0) FROM opened)::bigint AS opened
FROM found
LEFT JOIN classified ON found.id = classified.id
LEFT JOIN retried ON found.id = retried.id
ORDER BY found.id;

-- name: RescheduleJobs :many
-- Gives jobs that wait another time, priority or queue, if they still have one of the statuses; answers for each that
-- there is what it found, and whether it did so. A wait counts from the statement, as in RetryJobs.
WITH found AS (
    SELECT
        id,
        status
    FROM taskq_jobs
    WHERE id = ANY(@ids::bigint []) AND status = ANY(@statuses::taskq_job_status [])
    ORDER BY id
    FOR UPDATE
),

moment AS (
    SELECT
        coalesce(
            sqlc.narg(schedule_at)::timestamptz,
            statement_timestamp() + make_interval(secs => sqlc.narg(schedule_in)::double precision)
        ) AS scheduled_at
),

rescheduled AS (
    UPDATE taskq_jobs
    SET
        scheduled_at = coalesce(moment.scheduled_at, taskq_jobs.scheduled_at),
        due = coalesce(moment.scheduled_at <= statement_timestamp(), taskq_jobs.due),
        given_back = null,
        priority = coalesce(sqlc.narg(priority)::integer, taskq_jobs.priority),
        queue_name = coalesce(sqlc.narg(queue_name)::text, taskq_jobs.queue_name)
    FROM found
    CROSS JOIN moment
    WHERE taskq_jobs.id = found.id AND found.status = 'todo'
    RETURNING
        taskq_jobs.id,
        taskq_jobs.queue_name,
        taskq_jobs.due,
        taskq_jobs.scheduled_at,
        taskq_jobs.lock,
        taskq_jobs.limit_key
),

announced AS (
    SELECT taskq_notify(rescheduled.queue_name, rescheduled.due, min(rescheduled.scheduled_at))
    FROM rescheduled
    GROUP BY rescheduled.queue_name, rescheduled.due
),

-- They may have become the heads of their locks, or not be any more.
opened AS (
    SELECT taskq_open_for_jobs(array_agg(rescheduled.lock), array_agg(rescheduled.limit_key)) AS queues
    FROM rescheduled
    WHERE rescheduled.lock IS NOT NULL OR rescheduled.limit_key IS NOT NULL
    HAVING count(*) > 0
)

SELECT
    found.id,
    found.status,
    (rescheduled.id IS NOT NULL)::boolean AS done,
    (
        (SELECT count(*) FROM announced)
        + (SELECT coalesce(sum(opened.queues), 0) FROM opened)
    )::bigint AS announced
FROM found
LEFT JOIN rescheduled ON found.id = rescheduled.id
ORDER BY found.id;

-- name: DeleteJobs :many
-- Deletes jobs that do not run, if they still have one of the statuses, and their failed attempts with
-- them. Answers which it deleted.
WITH found AS (
    SELECT
        id,
        status
    FROM taskq_jobs
    WHERE
        id = ANY(@ids::bigint []) AND status = ANY(@statuses::taskq_job_status [])
        AND status <> 'doing'
    ORDER BY id
    FOR UPDATE
),

deleted AS (
    DELETE FROM taskq_jobs
    USING found
    WHERE taskq_jobs.id = found.id
    RETURNING taskq_jobs.id, taskq_jobs.lock
),

opened AS (
    SELECT taskq_open_locks(array_agg(deleted.lock)) AS queues
    FROM deleted
    INNER JOIN found ON deleted.id = found.id
    WHERE found.status = 'todo' AND deleted.lock IS NOT NULL
    HAVING count(*) > 0
)

SELECT
    deleted.id,
    (SELECT coalesce(sum(opened.queues), 0) FROM opened)::bigint AS opened
FROM deleted
ORDER BY deleted.id;
