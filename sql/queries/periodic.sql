-- name: DeferPeriodic :many
-- Every worker tries, and the row decides: the tick and its job are written together or not at all.
-- No row: somebody else had it. 0: a job with the same queueing lock waits, and the tick is skipped.
WITH tick AS (
    INSERT INTO taskq_periodic (task_name, periodic_id, last_tick)
    VALUES (@task_name::text, @periodic_id::text, @tick::bigint)
    ON CONFLICT (task_name, periodic_id) DO UPDATE
    SET last_tick = excluded.last_tick
    WHERE taskq_periodic.last_tick < excluded.last_tick
    RETURNING last_tick
)

SELECT coalesce(deferred.id, 0)::bigint AS id
FROM tick
CROSS JOIN LATERAL taskq_defer_jobs(@jobs::jsonb, 'skip') AS deferred (id);

-- name: ListTicks :many
SELECT
    task_name,
    periodic_id,
    last_tick
FROM taskq_periodic
ORDER BY task_name, periodic_id;
