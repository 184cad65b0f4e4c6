-- name: CountJobs :many
-- How many jobs there are of each queue, task and status, of those that fit every filter that is given.
-- Jobs that wait or run are counted, from the indexes that they are in; so are those that failed, were
-- cancelled or aborted while there are at most 2,500 of a status. All others are estimated, from 300 pages
-- of the table, evenly spread, unless it has so few that all are read: no counter and no index is kept for
-- this.
--
-- In the order of an index, so that the planner does not read the whole table. A LIMIT that it does not know
-- is a tenth to it: by its own guess of what the jobs that wait cost it would have the query compiled (jit),
-- which costs more than they do.
--
-- Milliseconds beside 5 M finished jobs: 30 for what waits and runs, 21,000 jobs, and 30 for everything;
-- PostgreSQL 15, two busy cores, medians; `python -m benchmarks.managing` measures it.
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
                LIMIT 2501
            ) AS seen
        ) <= 2500
),

size AS (
    SELECT pg_relation_size('taskq_jobs') / current_setting('block_size')::bigint AS pages
),

-- From which page to which; as ranges, since a TABLESAMPLE would take 300 pages more or less.
sample AS (
    SELECT
        (size.pages / 300.0)::real AS weight,
        (number.n * size.pages / 300)::bigint AS first,
        (number.n * size.pages / 300)::bigint + 1 AS beyond
    FROM size
    CROSS JOIN generate_series(0, 299) AS number (n)
    WHERE size.pages > 1000
    UNION ALL
    SELECT
        1.0::real AS weight,
        0 AS first,
        size.pages AS beyond
    FROM size
    WHERE size.pages <= 1000
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
            named.*
        FROM taskq_jobs AS named
        WHERE named.id = ANY(sqlc.narg(ids)::bigint [])
        UNION ALL
        (
            SELECT
                1.0::real AS weight,
                todo.*
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                AND todo.limit_key IS NULL AND todo.paused IS NULL
                AND 'todo' = ANY(@statuses::taskq_job_status [])
                AND sqlc.narg(ids)::bigint [] IS NULL
            ORDER BY todo.queue_name, todo.priority DESC, todo.id
            LIMIT (SELECT 1000000000)
        )
        UNION ALL
        (
            SELECT
                1.0::real AS weight,
                todo.*
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo'
                AND (NOT todo.due OR todo.lock IS NOT NULL OR todo.limit_key IS NOT NULL OR todo.paused)
                AND 'todo' = ANY(@statuses::taskq_job_status [])
                AND sqlc.narg(ids)::bigint [] IS NULL
            ORDER BY todo.id
            LIMIT (SELECT 1000000000)
        )
        UNION ALL
        (
            SELECT
                1.0::real AS weight,
                doing.*
            FROM taskq_jobs AS doing
            WHERE
                doing.status = 'doing'
                AND 'doing' = ANY(@statuses::taskq_job_status [])
                AND sqlc.narg(ids)::bigint [] IS NULL
            ORDER BY doing.worker_id
            LIMIT (SELECT 1000000000)
        )
        UNION ALL
        SELECT
            1.0::real AS weight,
            unsuccessful.*
        FROM few
        CROSS JOIN LATERAL (
            SELECT *
            FROM taskq_jobs AS final
            WHERE
                final.status IN ('failed', 'cancelled', 'aborted')
                AND final.status = few.status
            ORDER BY final.status, final.id
            LIMIT 2500
        ) AS unsuccessful
        WHERE sqlc.narg(ids)::bigint [] IS NULL
        UNION ALL
        SELECT
            page.weight,
            seen.*
        FROM (
            SELECT *
            FROM sample
            WHERE
                sqlc.narg(ids)::bigint [] IS NULL
                AND EXISTS (
                    SELECT
                    FROM unnest(@statuses::taskq_job_status []) AS every (status)
                    WHERE
                        every.status NOT IN ('todo', 'doing')
                        AND every.status NOT IN (SELECT few.status FROM few)
                )
            LIMIT (SELECT 1000000000)
        ) AS page
        CROSS JOIN LATERAL (
            SELECT *
            FROM taskq_jobs AS final
            WHERE
                final.ctid >= format('(%s,0)', page.first)::tid
                AND final.ctid < format('(%s,0)', page.beyond)::tid
                AND final.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
                AND final.status NOT IN (SELECT few.status FROM few)
            LIMIT (SELECT 1000000000)
        ) AS seen
    ) AS job
    WHERE
        taskq_job_fits(
            job.status, @statuses::taskq_job_status [],
            job.queue_name, sqlc.narg(queue_name)::text,
            job.task_name, sqlc.narg(task_name)::text,
            job.lock, sqlc.narg(lock)::text,
            job.queueing_lock, sqlc.narg(queueing_lock)::text,
            job.limit_key, sqlc.narg(limit_key)::text,
            job.worker_id, sqlc.narg(worker_id)::bigint,
            job.deferred_at,
            sqlc.narg(deferred_after)::timestamptz, sqlc.narg(deferred_before)::timestamptz,
            job.finished_at,
            sqlc.narg(finished_after)::timestamptz, sqlc.narg(finished_before)::timestamptz,
            job.args, sqlc.narg(args)::jsonb,
            job.tags, sqlc.narg(tags)::text []
        )
        AND (sqlc.narg(error)::text IS NULL OR taskq_has_error(job.id, sqlc.narg(error)::text))
)

SELECT
    counted.queue_name,
    counted.task_name,
    counted.status,
    round(sum(counted.weight))::bigint AS jobs,
    bool_or(counted.weight > 1)::boolean AS is_estimate,
    -- In seconds; negative if none waits.
    coalesce(
        extract(
            EPOCH FROM now() - min(counted.waiting_since) FILTER (WHERE isfinite(counted.waiting_since))
        ),
        -1
    )::double precision AS longest_wait
FROM counted
GROUP BY counted.queue_name, counted.task_name, counted.status
ORDER BY counted.queue_name, counted.task_name, counted.status;

-- name: ListLocks :many
-- The locks that jobs hold or wait for, those with the most that wait first. Of those that a worker has taken in a row
-- to run one after the other the first is named; 0: none holds it.
SELECT
    coalesce(waiting.lock, held.lock)::text AS lock,
    coalesce(held.job_id, 0)::bigint AS held_by,
    coalesce(waiting.jobs, 0)::bigint AS waiting
FROM (
    SELECT
        todo.lock,
        count(*) AS jobs
    FROM taskq_jobs AS todo
    WHERE todo.status = 'todo' AND todo.lock IS NOT NULL
    GROUP BY todo.lock
) AS waiting
FULL JOIN (
    SELECT DISTINCT ON (doing.lock)
        doing.lock,
        doing.id AS job_id
    FROM taskq_jobs AS doing
    WHERE doing.status = 'doing' AND doing.lock IS NOT NULL
    ORDER BY doing.lock, doing.priority DESC, doing.id
) AS held ON waiting.lock = held.lock
ORDER BY coalesce(waiting.jobs, 0) DESC, coalesce(waiting.lock, held.lock)
LIMIT @max_locks::integer;
