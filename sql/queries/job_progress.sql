-- name: ReportProgress :many
-- Writes how far jobs have come, many in one statement, and answers with those that it has left out, as another
-- transaction has their rows: it does not wait. Of those that have moved on nothing is written or said.
-- sqlc cannot look inside a column definition list: the casts tell it what the columns are.
WITH reported AS (
    SELECT
        report.job_id::bigint AS job_id,
        report.worker_id::bigint AS worker_id,
        report.claim::integer AS claim,
        report.progress::jsonb AS progress
    FROM jsonb_to_recordset(@reports::jsonb) AS report (
        job_id bigint,
        worker_id bigint,
        claim integer,
        progress jsonb
    )
),

ours AS (
    SELECT
        job.id,
        reported.progress,
        job.claim
    FROM taskq_jobs AS job
    INNER JOIN reported ON job.id = reported.job_id
    WHERE
        job.claim = reported.claim
        AND job.worker_id IS NOT DISTINCT FROM reported.worker_id
        AND job.status = 'doing'
),

candidate AS (
    SELECT job.id
    FROM taskq_jobs AS job
    INNER JOIN reported ON job.id = reported.job_id
    WHERE
        job.claim = reported.claim
        AND job.worker_id IS NOT DISTINCT FROM reported.worker_id
        AND job.status = 'doing'
    ORDER BY job.id
    FOR NO KEY UPDATE OF job SKIP LOCKED
),

written AS (
    UPDATE taskq_jobs
    SET progress = ours.progress || jsonb_build_object('claim', ours.claim, 'reported_at', now())
    FROM candidate
    INNER JOIN ours ON candidate.id = ours.id
    WHERE taskq_jobs.id = candidate.id
    RETURNING taskq_jobs.id
)

SELECT ours.id
FROM ours
WHERE NOT EXISTS (SELECT FROM written WHERE written.id = ours.id);

-- name: ListProgress :many
-- The first jobs that run and have reported how far they are.
SELECT
    id,
    task_name,
    claim,
    progress
FROM taskq_jobs
WHERE status = 'doing' AND progress IS NOT NULL
ORDER BY id
LIMIT @max_jobs::integer;
