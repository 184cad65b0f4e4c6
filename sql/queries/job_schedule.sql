-- name: PromoteJobs :one
-- Makes jobs due whose time has come, the earliest first, opens limits whose rate lets the next job start, and cancels
-- jobs that have not begun by their time. Says how many they were and when the next one is. Idle workers are notified:
-- the one that promotes need not have capacity for all of them. No job is changed twice: one that has expired is not
-- made due.
WITH expired AS (
    SELECT
        gone.jobs,
        gone.opened
    FROM taskq_expire_jobs(@max_jobs::integer) AS gone (jobs, opened)
),

promoted AS (
    UPDATE taskq_jobs
    SET due = true
    WHERE
        taskq_jobs.status = 'todo'
        -- An array, and not IN: the planner would read the whole table for it.
        AND taskq_jobs.id = ANY(ARRAY(
            SELECT timely.id
            FROM (
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE
                    job.status = 'todo' AND NOT job.due AND job.scheduled_at <= now()
                    AND (job.expires_at IS NULL OR job.expires_at > now())
                ORDER BY job.scheduled_at
                LIMIT @max_jobs::integer
                FOR UPDATE SKIP LOCKED
            ) AS timely
            UNION ALL
            -- The table refuses these, unless its constraints are gone: they would wait for ever.
            SELECT timeless.id
            FROM (
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE
                    job.status = 'todo' AND NOT job.due AND job.scheduled_at IS NULL
                    AND (job.expires_at IS NULL OR job.expires_at > now())
                ORDER BY job.scheduled_at
                LIMIT @max_jobs::integer
                FOR UPDATE SKIP LOCKED
            ) AS timeless
        ))
    RETURNING taskq_jobs.queue_name, taskq_jobs.lock, taskq_jobs.limit_key
),

opened AS (
    SELECT taskq_open_for_jobs(array_agg(promoted.lock), array_agg(promoted.limit_key), false) AS queues
    FROM promoted
    WHERE promoted.lock IS NOT NULL OR promoted.limit_key IS NOT NULL
    HAVING count(*) > 0
),

-- Limits whose rate lets the next job start.
paced AS (
    UPDATE taskq_limit_gates
    SET open_at = null
    WHERE
        taskq_limit_gates.ctid = ANY(ARRAY(
            SELECT gate.ctid
            FROM taskq_limit_gates AS gate
            WHERE gate.open_at <= now()
            ORDER BY gate.open_at
            LIMIT @max_jobs::integer
            FOR UPDATE SKIP LOCKED
        ))
    RETURNING taskq_limit_gates.queue_name
),

notified AS (
    SELECT taskq_notify(queue.name)
    FROM (
        SELECT promoted.queue_name AS name FROM promoted
        UNION
        SELECT paced.queue_name FROM paced
    ) AS queue
)

SELECT
    ((SELECT count(*) FROM promoted) + (SELECT count(*) FROM paced))::bigint AS jobs,
    (SELECT expired.jobs FROM expired)::bigint AS expired,
    (
        (SELECT count(*) FROM notified)
        + (SELECT coalesce(sum(opened.queues), 0) FROM opened)
        + (SELECT expired.opened FROM expired)
    )::bigint AS queues,
    -- Others promote them, or a claim has come to their lock: they are to be asked for again.
    (
        (
            SELECT count(*)
            FROM (
                SELECT job.scheduled_at
                FROM taskq_jobs AS job
                WHERE
                    job.status = 'todo' AND NOT job.due AND job.scheduled_at <= now()
                    AND (job.expires_at IS NULL OR job.expires_at > now())
                ORDER BY job.scheduled_at
                LIMIT @max_jobs::integer
            ) AS timely
        ) > (SELECT count(*) FROM promoted)
        OR (
            SELECT count(*)
            FROM (
                SELECT job.expires_at
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.expires_at <= now()
                ORDER BY job.expires_at
                LIMIT @max_jobs::integer
            ) AS over
        ) > (SELECT expired.jobs FROM expired)
    )::boolean AS skipped,
    later.scheduled_at AS next_at
FROM (SELECT) AS always
LEFT JOIN (
    SELECT first.scheduled_at
    FROM (
        (
            SELECT job.scheduled_at
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND NOT job.due AND job.scheduled_at > now()
            ORDER BY job.scheduled_at
            LIMIT 1
        )
        UNION ALL
        (
            SELECT gate.open_at AS scheduled_at
            FROM taskq_limit_gates AS gate
            WHERE gate.open_at > now()
            ORDER BY gate.open_at
            LIMIT 1
        )
        UNION ALL
        (
            SELECT job.expires_at AS scheduled_at
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.expires_at > now()
                -- What was written by hand, no timer waits for.
                AND job.expires_at < '9999-01-01T00:00:00Z'
            ORDER BY job.expires_at
            LIMIT 1
        )
    ) AS first
    ORDER BY first.scheduled_at
    LIMIT 1
) AS later ON true;

-- name: AnnounceLocks :one
-- Notifies of locks that went free whose next job this worker will not claim itself: it stops,
-- has no capacity, or does not serve every queue.
WITH announced AS (
    SELECT taskq_notify(head.queue_name)
    FROM unnest(@locks::text []) AS freed (lock)
    CROSS JOIN LATERAL taskq_lock_head(freed.lock) AS head (id, priority, queue_name, due, limit_key)
    WHERE head.due
    GROUP BY head.queue_name
)

SELECT count(*)::bigint AS queues FROM announced;

-- name: AnnounceLimits :one
-- Likewise of limits that have room again; and opens them, also in the queues that the ends of their jobs have not.
SELECT coalesce(taskq_open_limits(@limit_keys::text []), 0)::bigint AS queues;
