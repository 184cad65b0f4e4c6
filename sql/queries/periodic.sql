-- name: RegisterPeriodic :many
-- A worker names its periods when it starts, and is answered after which second their ticks count: that of the last
-- tick that was deferred, and for a period that is new, or has another schedule than before, this one. Never one that
-- is ahead: a clock that was wrong must not silence a period. In order, so that workers that start together do not
-- deadlock.
INSERT INTO taskq_periodic AS period (task_name, periodic_id, schedule)
SELECT
    new.task_name,
    new.periodic_id,
    new.schedule
FROM (
    SELECT
        unnest(@task_names::text []) AS task_name,
        unnest(@periodic_ids::text []) AS periodic_id,
        unnest(@schedules::text []) AS schedule
) AS new
ORDER BY new.task_name, new.periodic_id
ON CONFLICT (task_name, periodic_id) DO UPDATE
SET
    known_since = CASE
        WHEN period.schedule <> excluded.schedule THEN excluded.known_since
        ELSE least(period.known_since, excluded.known_since)
    END,
    schedule = excluded.schedule
RETURNING
    period.task_name,
    period.periodic_id,
    least(
        greatest(period.last_tick, period.known_since), floor(extract(EPOCH FROM now()))
    )::bigint AS counts_after;

-- name: DeferPeriodic :many
-- Every worker tries, and the row decides: the tick and its job are written together or not at all.
-- No row: another worker had it. 0: a job with the same queueing lock waits, and the tick is skipped.
--
-- It does not ask for the schedule. While a deploy changes that, workers of both run side by side, and each defers
-- the ticks of its own, whichever the row names: none is lost, and one of both is deferred once, as both move
-- last_tick. What a worker that starts writes to known_since is read by those that start later, so old and new ones
-- take nothing from one another; only what came while no worker of a schedule ran is not made up for once the
-- other has started. A worker that is late loses a tick if one of the other schedule, from after it, was deferred.
--
-- A row that is missing was deleted while the worker runs, or the database was made anew: it goes on.
WITH tick AS (
    INSERT INTO taskq_periodic AS period (task_name, periodic_id, last_tick)
    VALUES (@task_name::text, @periodic_id::text, @tick::bigint)
    ON CONFLICT (task_name, periodic_id) DO UPDATE
    SET last_tick = excluded.last_tick
    WHERE period.last_tick IS NULL OR period.last_tick < excluded.last_tick
    RETURNING period.last_tick
)

SELECT coalesce(deferred.id, 0)::bigint AS id
FROM tick
CROSS JOIN LATERAL taskq_defer_jobs(@jobs::jsonb, 'skip') AS deferred (id);

-- name: ListTicks :many
SELECT
    task_name,
    periodic_id,
    last_tick::bigint AS last_tick
FROM taskq_periodic
WHERE last_tick IS NOT NULL
ORDER BY task_name, periodic_id;
