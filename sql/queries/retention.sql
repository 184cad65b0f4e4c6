-- name: LeaseRetention :one
-- Takes the lease to delete old jobs, or keeps it: of all workers one has it at a time. No row: another
-- one has it. A worker that dies loses it when the time is over.
INSERT INTO taskq_retention (worker_id, leased_until)
VALUES (
    @worker_id::bigint, now() + make_interval(secs => @lease::double precision)
)
ON CONFLICT (single) DO UPDATE
SET
    worker_id = excluded.worker_id,
    leased_until = excluded.leased_until
WHERE
    taskq_retention.worker_id = excluded.worker_id
    OR taskq_retention.leased_until <= now()
    -- No worker takes it for so long: that was written by hand.
    OR taskq_retention.leased_until > now() + make_interval(secs => @lease::double precision) + interval '1 day'
RETURNING worker_id;

-- name: DeleteOldJobs :one
-- Deletes some jobs of one final status that finished so many seconds ago or earlier, and their failed
-- attempts with them, in the order of ids. Answers how many, how far it got, and whether that is the end.
--
-- No index has the times at which jobs finished: each job would pay for it, with 65 bytes of WAL on top of
-- 1,023. The order of ids is enough. An id is drawn after the transaction began that defers the job, and
-- before the job can finish; so beyond a job that was deferred later than that, all have finished later too.
-- Jobs that succeeded are found along the primary key, the others by an index that only they enter.
--
-- resume_after is where the next scan may begin: of what was deferred before it nothing is left to delete,
-- unless it finished more than an hour after it was deferred.
WITH moment AS (
    SELECT now() - make_interval(secs => @older_than::double precision) AS finished_before
),

scanned AS (
    SELECT
        job.id,
        job.deferred_at,
        (
            job.status = @status::taskq_job_status
            AND job.finished_at < (SELECT moment.finished_before FROM moment)
            AND (
                sqlc.narg(queue_name)::text IS NULL
                OR job.queue_name = sqlc.narg(queue_name)::text
            )
        ) AS is_old
    FROM (
        (
            SELECT *
            FROM taskq_jobs AS every
            WHERE every.id > @after::bigint AND @status::taskq_job_status = 'succeeded'
            ORDER BY every.id
            LIMIT 10000
        )
        UNION ALL
        (
            SELECT unsuccessful.*
            FROM (
                -- Nothing but the ids, so that the planner takes them in the order of the index.
                SELECT final.id
                FROM taskq_jobs AS final
                WHERE
                    final.status IN ('failed', 'cancelled', 'aborted')
                    AND final.status = @status::taskq_job_status
                    AND final.id > @after::bigint
                ORDER BY final.status, final.id
                LIMIT 10000
            ) AS entry
            CROSS JOIN LATERAL (
                SELECT *
                FROM taskq_jobs
                WHERE taskq_jobs.id = entry.id
                LIMIT 1
            ) AS unsuccessful
        )
        LIMIT @max_scanned::integer
    ) AS job
),

expired AS (
    SELECT scanned.id
    FROM scanned
    WHERE scanned.is_old
    ORDER BY scanned.id
    LIMIT @max_jobs::integer
),

-- What is retried in this moment stays.
locked AS (
    SELECT job.id
    FROM taskq_jobs AS job
    WHERE
        job.id = ANY(ARRAY(SELECT expired.id FROM expired))
        AND job.status = @status::taskq_job_status
        AND job.finished_at < (SELECT moment.finished_before FROM moment)
    FOR UPDATE SKIP LOCKED
),

deleted AS (
    DELETE FROM taskq_jobs
    WHERE taskq_jobs.id = ANY(ARRAY(SELECT locked.id FROM locked))
    RETURNING taskq_jobs.id
),

seen AS (
    SELECT
        count(*) AS jobs,
        max(scanned.id) AS last_id,
        -- One that says it was deferred tomorrow says nothing of those beyond it.
        coalesce(
            bool_or(
                scanned.deferred_at >= (SELECT moment.finished_before FROM moment)
                AND scanned.deferred_at < now() + interval '1 day'
            ),
            false
        ) AS is_beyond,
        min(
            CASE
                WHEN scanned.deferred_at >= (SELECT moment.finished_before FROM moment) - interval '1 hour'
                    THEN scanned.id
            END
        ) AS first_recent_id
    FROM scanned
),

chosen AS (
    SELECT
        count(*) AS jobs,
        max(expired.id) AS last_id
    FROM expired
),

reached AS (
    SELECT
        CASE
            WHEN chosen.jobs = @max_jobs::integer THEN chosen.last_id
            ELSE coalesce(seen.last_id, @after::bigint)
        END AS id,
        chosen.jobs < @max_jobs::integer
        AND (seen.jobs < @max_scanned::integer OR seen.is_beyond) AS is_end,
        seen.first_recent_id
    FROM seen
    CROSS JOIN chosen
)

SELECT
    (SELECT count(*) FROM deleted)::bigint AS jobs,
    reached.id::bigint AS reached,
    reached.is_end::boolean AS is_end,
    least(reached.first_recent_id - 1, reached.id)::bigint AS resume_after
FROM reached;
