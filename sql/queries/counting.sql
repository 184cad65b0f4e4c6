-- name: CountJobs :many
-- How many jobs there are of each queue, task and status, of those that fit every filter that is given.
-- Jobs that wait or run are counted, from the indexes that they are in; so are those that failed, were
-- cancelled or aborted while there are at most 10,000 of a status. All others are estimated from a sample
-- of the table's pages, unless they all are in it: no counter and no index is kept for this.
WITH few AS (
    SELECT every.status
    FROM unnest(@statuses::taskq_job_status []) AS every (status)
    WHERE
        every.status IN ('failed', 'cancelled', 'aborted')
        AND (
            SELECT count(*)
            FROM (
                SELECT
                FROM taskq_jobs AS job
                WHERE
                    job.status IN ('failed', 'cancelled', 'aborted')
                    AND job.status = every.status
                ORDER BY job.status, job.id
                LIMIT 10001
            ) AS seen
        ) <= 10000
),

counted AS (
    SELECT
        job.queue_name,
        job.task_name,
        job.status,
        job.weight,
        CASE
            WHEN job.status = 'todo' AND job.due
                THEN greatest(coalesce(job.scheduled_at, job.deferred_at), job.started_at)
        END AS waiting_since
    FROM (
        SELECT
            1.0::real AS weight,
            taskq_jobs.*
        FROM taskq_jobs
        WHERE
            taskq_jobs.id = ANY(sqlc.narg(ids)::bigint [])
        UNION ALL
        SELECT
            1.0::real AS weight,
            taskq_jobs.*
        FROM taskq_jobs
        WHERE
            taskq_jobs.status = 'todo' AND taskq_jobs.due AND taskq_jobs.lock IS NULL
            AND 'todo' = ANY(@statuses::taskq_job_status [])
            AND sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            1.0::real AS weight,
            taskq_jobs.*
        FROM taskq_jobs
        WHERE
            taskq_jobs.status = 'todo' AND taskq_jobs.due AND taskq_jobs.lock IS NOT NULL
            AND 'todo' = ANY(@statuses::taskq_job_status [])
            AND sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            1.0::real AS weight,
            taskq_jobs.*
        FROM taskq_jobs
        WHERE
            taskq_jobs.status = 'todo' AND NOT taskq_jobs.due
            AND 'todo' = ANY(@statuses::taskq_job_status [])
            AND sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            1.0::real AS weight,
            taskq_jobs.*
        FROM taskq_jobs
        WHERE
            taskq_jobs.status = 'doing'
            AND 'doing' = ANY(@statuses::taskq_job_status [])
            AND sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            1.0::real AS weight,
            job.*
        FROM few
        CROSS JOIN LATERAL (
            SELECT *
            FROM taskq_jobs AS final
            WHERE
                final.status IN ('failed', 'cancelled', 'aborted')
                AND final.status = few.status
            ORDER BY final.status, final.id
            LIMIT 10000
        ) AS job
        WHERE sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            100 / taskq_sample_percentage() AS weight,
            taskq_jobs.*
        FROM taskq_jobs TABLESAMPLE SYSTEM (taskq_sample_percentage())
        WHERE
            taskq_jobs.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
            AND taskq_jobs.status NOT IN (SELECT few.status FROM few)
            AND sqlc.narg(ids)::bigint [] IS NULL
    ) AS job
    WHERE
        job.status = ANY(@statuses::taskq_job_status [])
        AND (sqlc.narg(queue_name)::text IS NULL OR job.queue_name = sqlc.narg(queue_name)::text)
        AND (sqlc.narg(task_name)::text IS NULL OR job.task_name = sqlc.narg(task_name)::text)
        AND (sqlc.narg(lock)::text IS NULL OR job.lock = sqlc.narg(lock)::text)
        AND (
            sqlc.narg(queueing_lock)::text IS NULL
            OR job.queueing_lock = sqlc.narg(queueing_lock)::text
        )
        AND (sqlc.narg(worker_id)::bigint IS NULL OR job.worker_id = sqlc.narg(worker_id)::bigint)
        AND (
            sqlc.narg(deferred_after)::timestamptz IS NULL
            OR job.deferred_at >= sqlc.narg(deferred_after)::timestamptz
        )
        AND (
            sqlc.narg(deferred_before)::timestamptz IS NULL
            OR job.deferred_at < sqlc.narg(deferred_before)::timestamptz
        )
        AND (
            sqlc.narg(finished_after)::timestamptz IS NULL
            OR job.finished_at >= sqlc.narg(finished_after)::timestamptz
        )
        AND (
            sqlc.narg(finished_before)::timestamptz IS NULL
            OR job.finished_at < sqlc.narg(finished_before)::timestamptz
        )
        AND (sqlc.narg(args)::jsonb IS NULL OR job.args @> sqlc.narg(args)::jsonb)
)

SELECT
    counted.queue_name,
    counted.task_name,
    counted.status,
    round(sum(counted.weight))::bigint AS jobs,
    bool_or(counted.weight > 1)::boolean AS is_estimate,
    -- In seconds; negative if none waits.
    coalesce(extract(EPOCH FROM now() - min(counted.waiting_since)), -1)::double precision
        AS longest_wait
FROM counted
GROUP BY counted.queue_name, counted.task_name, counted.status
ORDER BY counted.queue_name, counted.task_name, counted.status;

-- name: ListLocks :many
-- The locks that jobs hold or wait for, those with the most that wait first.
SELECT
    coalesce(waiting.lock, held.lock)::text AS lock,
    held.job_id AS held_by,
    coalesce(waiting.jobs, 0)::bigint AS waiting
FROM (
    SELECT
        todo.lock,
        count(*) AS jobs
    FROM (
        SELECT job.lock
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND job.due AND job.lock IS NOT NULL
        UNION ALL
        SELECT job.lock
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND NOT job.due AND job.lock IS NOT NULL
    ) AS todo
    GROUP BY todo.lock
) AS waiting
FULL JOIN taskq_locks AS held ON waiting.lock = held.lock
ORDER BY coalesce(waiting.jobs, 0) DESC, coalesce(waiting.lock, held.lock)
LIMIT @max_locks::integer;
