-- name: DeferJobs :many
-- The one way in; whatever is checked is checked there, for every caller alike. 0 is in the place of a
-- job that was skipped, as sqlc takes the column for not null.
SELECT coalesce(deferred.id, 0)::bigint AS id
FROM taskq_defer_jobs(
    @jobs::jsonb, @on_conflict::text, @share_notification::boolean
) AS deferred (id);

-- name: GetJob :one
SELECT * FROM taskq_jobs
WHERE id = @id::bigint;

-- name: ListJobs :many
SELECT * FROM taskq_jobs
WHERE id = ANY(@ids::bigint [])
ORDER BY id;

-- name: ListAliveJobs :many
-- Which of some jobs have not ended: for whoever waits for them, asks again and again, and would pay
-- dear for their rows.
SELECT id
FROM taskq_jobs
WHERE id = ANY(@ids::bigint []) AND status IN ('todo', 'doing')
ORDER BY id;

-- name: CancelJob :one
-- A job that waits ends at once (or goes, if it is to be deleted); one that runs is flagged and its
-- worker told, if aborting is meant. Answers whether any of that happened; no row: no such job.
--
-- It locks first and looks at the status then: a job that is claimed in that very moment is asked to
-- abort, where a condition on the table itself would still see it wait, and do nothing.
WITH found AS (
    SELECT
        id,
        status
    FROM taskq_jobs
    WHERE id = @id::bigint
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
    RETURNING taskq_jobs.worker_id
),

told AS (
    SELECT pg_notify(taskq_channel(), taskq_abort(flagged.worker_id))
    FROM flagged
),

-- It may have been the head of its lock: whoever is next hears of it, if it is due.
followed AS (
    SELECT pg_notify(taskq_channel(), taskq_ready(follower.queue_name))
    FROM (
        SELECT cancelled.id, cancelled.lock FROM cancelled
        UNION ALL
        SELECT deleted.id, deleted.lock FROM deleted
    ) AS gone
    CROSS JOIN LATERAL (
        SELECT job.queue_name
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock = gone.lock
            AND job.id <> gone.id
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    ) AS follower
)

SELECT
    found.status,
    (
        EXISTS (SELECT FROM cancelled)
        OR EXISTS (SELECT FROM deleted)
        OR EXISTS (SELECT FROM told)
    )::boolean AS done,
    (SELECT count(*) FROM followed)::bigint AS followers
FROM found;

-- name: CountJobs :many
SELECT
    queue_name,
    task_name,
    status,
    count(*) AS jobs
FROM taskq_jobs
GROUP BY queue_name, task_name, status
ORDER BY queue_name, task_name, status;
