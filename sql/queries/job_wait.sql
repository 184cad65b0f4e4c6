-- name: ListEndedJobs :many
-- Of some jobs that are waited for, those that have ended.
SELECT * FROM taskq_jobs
WHERE id = ANY(@ids::bigint []) AND status NOT IN ('todo', 'doing');

-- name: ListAwaitedJobs :many
-- What jobs that are waited for are by now, and whether their ends are notified.
SELECT
    id,
    status,
    task_name,
    queue_name,
    coalesce(awaited, false)::boolean AS is_marked
FROM taskq_jobs
WHERE id = ANY(@ids::bigint []);

-- name: AwaitJobs :many
-- Marks jobs that have not ended, so that their ends are notified, and answers with those that it has marked. The
-- client that waits has subscribed before: an end that was not seen comes after the mark, or waits for it.
--
-- It waits for no other transaction: one whose row is locked, as an effect of it commits together with its end, is
-- not marked, and is to be asked for again.
--
-- While it has a row, a claim passes over the job. So it has the next claim look again.
WITH candidate AS (
    SELECT job.id
    FROM taskq_jobs AS job
    WHERE
        job.id = ANY(@ids::bigint []) AND job.status IN ('todo', 'doing')
        AND job.awaited IS NOT true
    ORDER BY job.id
    FOR NO KEY UPDATE SKIP LOCKED
),

marked AS (
    UPDATE taskq_jobs
    SET awaited = true
    FROM candidate
    WHERE taskq_jobs.id = candidate.id
    RETURNING
        taskq_jobs.id,
        taskq_jobs.status,
        taskq_jobs.queue_name,
        taskq_jobs.due,
        taskq_jobs.lock
),

opened AS (
    SELECT taskq_open_locks(array_agg(marked.lock)) AS queues
    FROM marked
    WHERE marked.status = 'todo' AND marked.lock IS NOT NULL
    HAVING count(*) > 0
),

notified AS (
    SELECT taskq_notify(marked.queue_name)
    FROM marked
    WHERE marked.status = 'todo' AND marked.due AND marked.lock IS NULL
    GROUP BY marked.queue_name
)

SELECT
    marked.id,
    ((SELECT count(*) FROM notified) + (SELECT coalesce(sum(opened.queues), 0) FROM opened))::bigint AS queues
FROM marked;
