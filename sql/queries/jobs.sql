-- name: DeferJobs :many
-- The one way in; whatever is checked is checked there, for every caller alike.
SELECT taskq_defer_jobs(@jobs::jsonb)::bigint AS id;

-- name: ClaimJobs :many
-- Takes the next jobs for a worker: those without a lock, and the heads of locks that nobody holds.
-- The head is the first todo job of its lock even if it is not due yet, so that a job that waits
-- for its retry holds its followers.
-- What a claim that read too early may have wrong is put right by what it must take: SKIP LOCKED
-- and the second look at status for the job, ON CONFLICT for the lock.
WITH unlocked AS (
    SELECT
        job.id,
        job.priority,
        job.lock
    FROM taskq_jobs AS job
    WHERE
        job.status = 'todo'
        AND job.lock IS NULL
        AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
        AND (
            sqlc.narg(queue_names)::text [] IS NULL
            OR job.queue_name = ANY(sqlc.narg(queue_names)::text [])
        )
    ORDER BY job.priority DESC, job.id
    LIMIT @max_jobs::integer
    FOR UPDATE SKIP LOCKED
),

heads AS (
    SELECT
        job.id,
        job.priority,
        job.lock
    FROM taskq_jobs AS job
    WHERE
        job.status = 'todo'
        AND job.lock IS NOT NULL
        AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
        AND (
            sqlc.narg(queue_names)::text [] IS NULL
            OR job.queue_name = ANY(sqlc.narg(queue_names)::text [])
        )
        AND job.id = (
            SELECT head.id
            FROM taskq_jobs AS head
            WHERE head.status = 'todo' AND head.lock = job.lock
            ORDER BY head.priority DESC, head.id
            LIMIT 1
        )
        AND NOT EXISTS (
            SELECT FROM taskq_locks
            WHERE taskq_locks.lock = job.lock
        )
    ORDER BY job.priority DESC, job.id
    LIMIT @max_jobs::integer
    FOR UPDATE SKIP LOCKED
),

front AS (
    SELECT
        candidate.id,
        candidate.lock
    FROM (
        SELECT
            unlocked.id,
            unlocked.priority,
            unlocked.lock
        FROM unlocked
        UNION ALL
        SELECT
            heads.id,
            heads.priority,
            heads.lock
        FROM heads
    ) AS candidate
    ORDER BY candidate.priority DESC, candidate.id
    LIMIT @max_jobs::integer
),

-- In the order of the locks: two claims that meet here wait for one another at most once.
taken AS (
    INSERT INTO taskq_locks (lock, job_id)
    SELECT
        front.lock,
        front.id
    FROM front
    WHERE front.lock IS NOT NULL
    ORDER BY front.lock
    ON CONFLICT DO NOTHING
    RETURNING job_id
),

claimed AS (
    UPDATE taskq_jobs
    SET
        status = 'doing',
        worker_id = @worker_id::bigint,
        attempt = taskq_jobs.attempt + 1,
        started_at = now()
    FROM front
    WHERE
        taskq_jobs.id = front.id
        AND (front.lock IS NULL OR front.id IN (SELECT taken.job_id FROM taken))
    RETURNING taskq_jobs.*
)

SELECT *
FROM claimed
ORDER BY claimed.priority DESC, claimed.id;

-- name: FinishJobs :many
-- Writes how attempts ended, many at once: the status, the result or the error, and the lock goes
-- free, all or none. Returns the jobs that were still this worker's; the others have moved on
-- (rescued, claimed again) and are left as they are.
-- sqlc cannot look inside a column definition list: the casts tell it what the columns are.
WITH ended AS (
    SELECT
        outcome.job_id::bigint AS job_id,
        outcome.attempt::integer AS attempt,
        outcome.status::taskq_job_status AS status,
        outcome.result::jsonb AS result,
        outcome.error_type::text AS error_type,
        outcome.error_message::text AS error_message,
        outcome.error_traceback::text AS error_traceback
    FROM jsonb_to_recordset(@outcomes::jsonb) AS outcome (
        job_id bigint,
        attempt integer,
        status taskq_job_status,
        result jsonb,
        error_type text,
        error_message text,
        error_traceback text
    )
),

finished AS (
    UPDATE taskq_jobs
    SET
        status = ended.status,
        finished_at = now(),
        result = ended.result
    FROM ended
    WHERE
        taskq_jobs.id = ended.job_id
        AND taskq_jobs.attempt = ended.attempt
        AND taskq_jobs.worker_id = @worker_id::bigint
        AND taskq_jobs.status = 'doing'
    RETURNING taskq_jobs.id, taskq_jobs.lock
),

freed AS (
    DELETE FROM taskq_locks
    USING finished
    WHERE
        taskq_locks.lock = finished.lock
        AND taskq_locks.job_id = finished.id
),

explained AS (
    INSERT INTO taskq_failed_attempts (
        job_id, attempt, worker_id, error_type, error_message, error_traceback
    )
    SELECT
        ended.job_id,
        ended.attempt,
        @worker_id::bigint,
        ended.error_type,
        ended.error_message,
        ended.error_traceback
    FROM ended
    WHERE
        ended.error_type IS NOT NULL
        AND ended.job_id IN (SELECT finished.id FROM finished)
)

SELECT finished.id FROM finished;

-- name: GetJob :one
SELECT * FROM taskq_jobs
WHERE id = @id::bigint;

-- name: CountJobs :many
SELECT
    queue_name,
    task_name,
    status,
    count(*) AS jobs
FROM taskq_jobs
GROUP BY queue_name, task_name, status
ORDER BY queue_name, task_name, status;
