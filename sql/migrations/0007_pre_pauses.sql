-- How jobs of a paused task get out of the way of claims, and back: docs/gates.md.

-- The row of the pause is locked, for its end to come after this and find what is marked here. Where it is just ending,
-- nothing is marked.
CREATE FUNCTION taskq_bar_paused_jobs(ids bigint []) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH pause AS MATERIALIZED (
        SELECT taskq_pauses.name
        FROM taskq_pauses
        WHERE taskq_pauses.kind = 'task'
        FOR KEY SHARE SKIP LOCKED
    ),

    barred AS (
        UPDATE taskq_jobs
        SET paused = true
        WHERE
            taskq_jobs.id = ANY(ARRAY(
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE
                    job.id = ANY(ids) AND job.status = 'todo' AND job.due AND job.paused IS NULL
                    AND job.task_name IN (SELECT pause.name FROM pause)
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING taskq_jobs.id
    )

    SELECT count(*) FROM barred;
END;

COMMENT ON FUNCTION taskq_bar_paused_jobs(bigint []) IS
    'Takes those of some jobs whose task is paused out of the way of claims, until it is resumed.';


CREATE FUNCTION taskq_let_in_paused_jobs(task text) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH let_in AS (
        UPDATE taskq_jobs
        SET paused = null
        WHERE taskq_jobs.status = 'todo' AND taskq_jobs.paused AND taskq_jobs.task_name = task
        RETURNING taskq_jobs.queue_name, taskq_jobs.lock, taskq_jobs.limit_key
    ),

    opened AS (
        SELECT taskq_open_for_jobs(array_agg(let_in.lock), array_agg(let_in.limit_key)) AS queues
        FROM let_in
        WHERE let_in.lock IS NOT NULL OR let_in.limit_key IS NOT NULL
        HAVING count(*) > 0
    ),

    notified AS (
        SELECT taskq_notify(let_in.queue_name)
        FROM let_in
        GROUP BY let_in.queue_name
    )

    SELECT (SELECT count(*) FROM notified) + coalesce((SELECT sum(opened.queues) FROM opened), 0);
END;

COMMENT ON FUNCTION taskq_let_in_paused_jobs(text) IS
    'Lets the jobs of a task in that claims have taken out of their way: in the transaction that ends its pause, '
    'after it.';
