-- name: PageJobs :many
-- A page of jobs, in the order of their ids or against it, of those that fit every filter that is given.
-- after is where a page begins that goes up, before where one begins that goes down; the other is null.
--
-- It scans no more than max_scanned jobs of each source, however few of them fit, and answers as far as it
-- has scanned all sources. Where that ends is in the answer, as is_edge, and matches only
-- if it fits as well: the next page begins there. No edge: there is no more.
--
-- Where it goes along an index it takes nothing but the ids from it, and each job by its id: for all of a
-- job the planner may think it cheaper to fetch what it takes for few, and sort them.
--
-- With ids it reads those; with unsuccessful it scans the index of those that failed or were cancelled or
-- aborted; and with walks along the primary key, since no index of finished jobs is worth what it would cost
-- each job in its life. What is not asked for takes 1 ms to plan, and is not even begun.
--
-- With alive it scans jobs that wait or run, and none of those that are final. Those that are ready wait
-- in lines, one for each queue and priority: in each an index has them in the order of ids. The others that wait
-- have an index for this; those that run are few, and read whole. With a lock or a
-- queueing lock (by_line is false then) its jobs are read whole.
--
-- Milliseconds for a page of 100 beside 5 M finished jobs, and 21,000 that wait or run; PostgreSQL 15, two
-- busy cores, medians; `python -m benchmarks.managing` measures it.
--
--   all jobs, up or down or from the middle on          5 to 6
--   of one queue                                            15
--   of a queue that is not there                            12
--   that failed                                              3
--   that failed, of a task that is not there                19
--   that wait                                               12
--   that wait, of one task                                  30
--   that wait, of one lock                                   6
WITH RECURSIVE line AS (
    (
        SELECT
            job.queue_name,
            job.priority
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NULL
            AND job.limit_key IS NULL AND job.paused IS NULL
            AND job.queue_name >= coalesce(sqlc.narg(queue_name)::text, '')
            AND @by_line::boolean
        ORDER BY job.queue_name, job.priority DESC, job.id
        LIMIT 1
    )
    UNION ALL
    SELECT
        following.queue_name,
        following.priority
    FROM line
    CROSS JOIN LATERAL (
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.limit_key IS NULL AND job.paused IS NULL
                AND job.queue_name = line.queue_name
                AND job.priority < line.priority
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.limit_key IS NULL AND job.paused IS NULL
                AND job.queue_name > line.queue_name
                AND sqlc.narg(queue_name)::text IS NULL
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        LIMIT 1
    ) AS following
),

scanned AS (
    SELECT
        candidate.source,
        candidate.most,
        candidate.id,
        -- Where it is in the order of the page.
        CASE
            WHEN sqlc.narg(after)::bigint IS NULL THEN -1 - candidate.id ELSE candidate.id
        END AS place,
        taskq_job_fits(
            candidate.status, @statuses::taskq_job_status [],
            candidate.queue_name, sqlc.narg(queue_name)::text,
            candidate.task_name, sqlc.narg(task_name)::text,
            candidate.lock, sqlc.narg(lock)::text,
            candidate.queueing_lock, sqlc.narg(queueing_lock)::text,
            candidate.limit_key, sqlc.narg(limit_key)::text,
            candidate.worker_id, sqlc.narg(worker_id)::bigint,
            candidate.deferred_at,
            sqlc.narg(deferred_after)::timestamptz, sqlc.narg(deferred_before)::timestamptz,
            candidate.finished_at,
            sqlc.narg(finished_after)::timestamptz, sqlc.narg(finished_before)::timestamptz,
            candidate.args, sqlc.narg(args)::jsonb,
            candidate.tags, sqlc.narg(tags)::text []
        )
        AND (sqlc.narg(error)::text IS NULL OR taskq_has_error(candidate.id, sqlc.narg(error)::text)) AS matches
    FROM (
        -- Those that are read whole.
        SELECT
            0 AS source,
            null::bigint AS most,
            job.*
        FROM taskq_jobs AS job
        WHERE
            job.id = ANY(sqlc.narg(ids)::bigint [])
            AND (job.id > sqlc.narg(after)::bigint OR job.id < sqlc.narg(before)::bigint)
        UNION ALL
        SELECT
            0 AS source,
            null::bigint AS most,
            job.*
        FROM taskq_jobs AS job
        WHERE
            job.status = 'doing'
            AND @alive::boolean AND 'doing' = ANY(@statuses::taskq_job_status [])
            AND (job.id > sqlc.narg(after)::bigint OR job.id < sqlc.narg(before)::bigint)
        UNION ALL
        SELECT
            0 AS source,
            null::bigint AS most,
            job.*
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.lock = sqlc.narg(lock)::text
            AND sqlc.narg(queueing_lock)::text IS NULL
            AND @alive::boolean AND 'todo' = ANY(@statuses::taskq_job_status [])
            AND (job.id > sqlc.narg(after)::bigint OR job.id < sqlc.narg(before)::bigint)
        UNION ALL
        SELECT
            0 AS source,
            null::bigint AS most,
            job.*
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.queueing_lock = sqlc.narg(queueing_lock)::text
            AND @alive::boolean AND 'todo' = ANY(@statuses::taskq_job_status [])
            AND (job.id > sqlc.narg(after)::bigint OR job.id < sqlc.narg(before)::bigint)
        UNION ALL
        SELECT
            0 AS source,
            @max_scanned::bigint AS most,
            job.*
        FROM (
            (
                SELECT *
                FROM taskq_jobs AS job
                WHERE
                    job.id > sqlc.narg(after)::bigint
                    AND @walks::boolean
                ORDER BY job.id
                LIMIT 10000
            )
            UNION ALL
            (
                SELECT *
                FROM taskq_jobs AS job
                WHERE
                    job.id < sqlc.narg(before)::bigint
                    AND @walks::boolean
                ORDER BY job.id DESC
                LIMIT 10000
            )
            LIMIT @max_scanned::bigint
        ) AS job
        UNION ALL
        SELECT
            entry.source,
            entry.most,
            job.*
        FROM (
            SELECT
                final.number AS source,
                @max_scanned::bigint AS most,
                entry.id
            FROM unnest(@unsuccessful::taskq_job_status []) WITH ORDINALITY AS final (status, number)
            CROSS JOIN LATERAL (
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status IN ('failed', 'cancelled', 'aborted')
                        AND job.status = final.status
                        AND job.id > sqlc.narg(after)::bigint
                    ORDER BY job.status, job.id
                    LIMIT 10000
                )
                UNION ALL
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status IN ('failed', 'cancelled', 'aborted')
                        AND job.status = final.status
                        AND job.id < sqlc.narg(before)::bigint
                    ORDER BY job.status DESC, job.id DESC
                    LIMIT 10000
                )
                LIMIT @max_scanned::bigint
            ) AS entry
            UNION ALL
            SELECT
                line.number AS source,
                line.most,
                entry.id
            FROM (
                SELECT
                    found.*,
                    row_number() OVER () AS number,
                    -- All lines together are not to be much more than a few.
                    least(@max_scanned::bigint, greatest(5000 / count(*) OVER (), 10)) AS most
                FROM (
                    SELECT * FROM line
                    LIMIT (SELECT 1000000000)
                ) AS found
            ) AS line
            CROSS JOIN LATERAL (
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status = 'todo' AND job.due AND job.lock IS NULL
                        AND job.limit_key IS NULL AND job.paused IS NULL
                        AND job.queue_name = line.queue_name AND job.priority = line.priority
                        AND job.id > sqlc.narg(after)::bigint
                    ORDER BY job.queue_name, job.priority DESC, job.id
                    LIMIT 1000
                )
                UNION ALL
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status = 'todo' AND job.due AND job.lock IS NULL
                        AND job.limit_key IS NULL AND job.paused IS NULL
                        AND job.queue_name = line.queue_name AND job.priority = line.priority
                        AND job.id < sqlc.narg(before)::bigint
                    ORDER BY job.queue_name DESC, job.priority ASC, job.id DESC
                    LIMIT 1000
                )
                LIMIT line.most
            ) AS entry
            UNION ALL
            SELECT
                -1 AS source,
                @max_scanned::bigint AS most,
                entry.id
            -- A limit that the planner does not know is a tenth to it: for one that it knows, it may read all those
            -- for later by the index of their times, and sort them.
            FROM (
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status = 'todo'
                        AND (NOT job.due OR job.lock IS NOT NULL OR job.limit_key IS NOT NULL OR job.paused)
                        AND @by_line::boolean
                        AND job.id > sqlc.narg(after)::bigint
                    ORDER BY job.id
                    LIMIT (SELECT 1000)
                )
                UNION ALL
                (
                    SELECT job.id
                    FROM taskq_jobs AS job
                    WHERE
                        job.status = 'todo'
                        AND (NOT job.due OR job.lock IS NOT NULL OR job.limit_key IS NOT NULL OR job.paused)
                        AND @by_line::boolean
                        AND job.id < sqlc.narg(before)::bigint
                    ORDER BY job.id DESC
                    LIMIT (SELECT 1000)
                )
                LIMIT @max_scanned::bigint
            ) AS entry
        ) AS entry
        CROSS JOIN LATERAL (
            SELECT *
            FROM taskq_jobs
            WHERE taskq_jobs.id = entry.id
            LIMIT 1
        ) AS job
    ) AS candidate
),

-- As far as every source was scanned.
edge AS (
    SELECT min(source.place) AS place
    FROM (
        SELECT max(scanned.place) AS place
        FROM scanned
        WHERE scanned.most IS NOT NULL
        GROUP BY scanned.source
        HAVING count(*) >= min(scanned.most)
    ) AS source
),

page AS (
    SELECT
        scanned.id,
        scanned.place
    FROM scanned
    WHERE scanned.matches AND coalesce(scanned.place <= (SELECT edge.place FROM edge), true)
    ORDER BY scanned.place
    LIMIT @max_jobs::integer
)

SELECT
    job.*,
    shown.matches::boolean AS matches,
    coalesce(shown.place = (SELECT edge.place FROM edge), false)::boolean AS is_edge
FROM (
    SELECT
        page.id,
        page.place,
        true AS matches
    FROM page
    UNION ALL
    SELECT
        scanned.id,
        scanned.place,
        false AS matches
    FROM scanned
    WHERE
        scanned.matches IS NOT TRUE
        AND scanned.place = (SELECT edge.place FROM edge)
        AND (SELECT count(*) FROM page) < @max_jobs::integer
) AS shown
INNER JOIN taskq_jobs AS job ON shown.id = job.id
ORDER BY shown.place;

-- name: GetJob :one
SELECT * FROM taskq_jobs
WHERE id = @id::bigint;

-- name: GetJobStatus :one
SELECT status FROM taskq_jobs
WHERE id = @id::bigint;

-- name: ListAliveJobs :many
-- Which of some jobs have not ended: for waiting until they have, which asks again and again, and for
-- which rows would cost too much.
SELECT id
FROM taskq_jobs
WHERE id = ANY(@ids::bigint []) AND status IN ('todo', 'doing')
ORDER BY id;

-- name: ListFailedAttempts :many
SELECT * FROM taskq_failed_attempts
WHERE job_id = @job_id::bigint
ORDER BY claim;
