-- What ends jobs that have not begun by their time.

-- As CancelJobs ends them: one may have been the head of its lock. It waits for nothing: what another transaction has
-- locked is left to that, or to the next call. A statement of its own, as taskq_open_locks is.
CREATE FUNCTION taskq_expire_jobs(max_jobs integer) RETURNS TABLE (jobs bigint, opened bigint)
LANGUAGE sql VOLATILE ROWS 1
BEGIN ATOMIC
    WITH expired AS (
        UPDATE taskq_jobs
        SET
            status = 'cancelled',
            finished_at = now()
        WHERE
            taskq_jobs.status = 'todo'
            AND taskq_jobs.id = ANY(ARRAY(
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.expires_at <= now()
                ORDER BY job.expires_at
                LIMIT max_jobs
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING taskq_jobs.lock
    ),

    freed AS (
        SELECT taskq_open_locks(array_agg(expired.lock)) AS queues
        FROM expired
        WHERE expired.lock IS NOT NULL
        HAVING count(*) > 0
    )

    SELECT
        (SELECT count(*) FROM expired),
        (SELECT coalesce(sum(freed.queues), 0) FROM freed)::bigint;
END;

COMMENT ON FUNCTION taskq_expire_jobs(integer) IS
    'Cancels jobs that have not begun by their time, the earliest first; how many, and how many queues were notified '
    'of locks that went free.';
