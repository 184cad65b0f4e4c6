-- name: NextMoment :one
-- The first moment at which something comes due: a job for later, a start that a rate allows, or a job that expires.
-- It may be over. For tests, which go to it without waiting.
SELECT
    now()::timestamptz AS server_time,
    moment.due_at
FROM (SELECT) AS always
LEFT JOIN (
    SELECT first.due_at
    FROM (
        (
            SELECT job.scheduled_at AS due_at
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND NOT job.due AND isfinite(job.scheduled_at)
            ORDER BY job.scheduled_at
            LIMIT 1
        )
        UNION ALL
        (
            SELECT gate.open_at AS due_at
            FROM taskq_limit_gates AS gate
            WHERE gate.open_at IS NOT NULL
            ORDER BY gate.open_at
            LIMIT 1
        )
        UNION ALL
        (
            SELECT job.expires_at AS due_at
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND job.expires_at < '9999-01-01T00:00:00Z'
            ORDER BY job.expires_at
            LIMIT 1
        )
    ) AS first
    ORDER BY first.due_at
    LIMIT 1
) AS moment ON true;

-- name: MoveTime :one
-- Time moves on, or back: all that is stored becomes older, so that what is to be in an hour is now. All that
-- claims, promotes and finishes goes by the server's clock, which cannot be set, and so none of it knows of a test.
WITH moved AS (SELECT make_interval(secs => @seconds::double precision) AS span),

jobs AS (
    UPDATE taskq_jobs
    SET
        deferred_at = deferred_at - moved.span,
        scheduled_at = scheduled_at - moved.span,
        started_at = started_at - moved.span,
        finished_at = finished_at - moved.span,
        expires_at = expires_at - moved.span
    FROM moved
    RETURNING taskq_jobs.id
),

attempts AS (
    UPDATE taskq_failed_attempts
    SET failed_at = failed_at - moved.span, started_at = started_at - moved.span
    FROM moved
),

rates AS (
    UPDATE taskq_limit_rates
    SET spent_until = spent_until - moved.span
    FROM moved
),

gates AS (
    UPDATE taskq_limit_gates
    SET open_at = open_at - moved.span, claimed_at = claimed_at - moved.span
    FROM moved
    WHERE open_at IS NOT NULL OR claimed_at IS NOT NULL
),

pauses AS (
    UPDATE taskq_pauses
    SET paused_at = paused_at - moved.span
    FROM moved
)

SELECT count(*)::bigint AS jobs FROM jobs;

-- name: SetAttempt :exec
-- As if earlier attempts of a job that waits had used up those before.
UPDATE taskq_jobs
SET
    attempt = @used_up::integer,
    claim = @used_up::integer
WHERE taskq_jobs.id = @job_id::bigint AND taskq_jobs.status = 'todo' AND taskq_jobs.claim < @used_up::integer;
