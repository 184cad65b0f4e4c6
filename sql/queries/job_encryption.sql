-- name: ListEncryptedJobs :many
-- What is encrypted of the next jobs after an id, in the order of ids. It scans max_scanned jobs at most, and the
-- last of them is always in the answer, for the next page to begin after it; no row: there are no more. No index has
-- the encrypted ones: an operator asks for them when a key is changed, and each job would pay for it.
WITH scanned AS (
    SELECT
        job.id,
        job.status,
        job.args,
        job.result
    FROM taskq_jobs AS job
    WHERE job.id > @after::bigint
    ORDER BY job.id
    LIMIT @max_scanned::bigint
)

SELECT
    scanned.id,
    (scanned.status = 'doing')::boolean AS is_doing,
    (CASE WHEN scanned.args -> '$encrypted' IS NOT NULL THEN scanned.args END)::jsonb AS args,
    (CASE WHEN scanned.result -> '$encrypted' IS NOT NULL THEN scanned.result END)::jsonb AS result
FROM scanned
WHERE
    scanned.args -> '$encrypted' IS NOT NULL
    OR scanned.result -> '$encrypted' IS NOT NULL
    OR scanned.id = (SELECT max(edge.id) FROM scanned AS edge)
ORDER BY scanned.id;

-- name: ReencryptJobs :many
-- Writes what was encrypted anew, of jobs that do not run and have what they had; answers which those are. One that
-- is claimed in that very moment is left alone: its worker has read what it had, and its end is written beside that.
--
-- A claim passes over what is locked here, and may have found nothing else: it is notified, as after a change by an
-- operator.
WITH renewed AS (
    SELECT
        anew.id::bigint AS id,
        anew.args::jsonb AS args,
        anew.new_args::jsonb AS new_args,
        anew.result::jsonb AS result,
        anew.new_result::jsonb AS new_result
    FROM jsonb_to_recordset(@renewed::jsonb) AS anew (
        id bigint,
        args jsonb,
        new_args jsonb,
        result jsonb,
        new_result jsonb
    )
),

found AS (
    SELECT job.id
    FROM taskq_jobs AS job
    WHERE job.id IN (SELECT renewed.id FROM renewed) AND job.status <> 'doing'
    ORDER BY job.id
    FOR UPDATE
),

written AS (
    UPDATE taskq_jobs
    SET
        args = coalesce(renewed.new_args, taskq_jobs.args),
        result = coalesce(renewed.new_result, taskq_jobs.result)
    FROM renewed
    INNER JOIN found ON renewed.id = found.id
    WHERE
        taskq_jobs.id = renewed.id
        AND taskq_jobs.status <> 'doing'
        AND (renewed.new_args IS NULL OR taskq_jobs.args = renewed.args)
        AND (renewed.new_result IS NULL OR taskq_jobs.result = renewed.result)
    RETURNING
        taskq_jobs.id,
        taskq_jobs.status,
        taskq_jobs.due,
        taskq_jobs.queue_name,
        taskq_jobs.lock,
        taskq_jobs.limit_key
),

opened AS (
    SELECT taskq_open_for_jobs(array_agg(written.lock), array_agg(written.limit_key), false) AS queues
    FROM written
    WHERE written.status = 'todo' AND written.due AND (written.lock IS NOT NULL OR written.limit_key IS NOT NULL)
    HAVING count(*) > 0
),

announced AS (
    SELECT taskq_notify(written.queue_name)
    FROM written
    WHERE written.status = 'todo' AND written.due
    GROUP BY written.queue_name
)

SELECT
    written.id,
    (SELECT count(*) FROM announced)::bigint AS announced,
    (SELECT coalesce(sum(opened.queues), 0) FROM opened)::bigint AS opened
FROM written
ORDER BY written.id;
