-- name: RegisterWorker :one
-- Also tells the server's clock, in seconds since 1970: notifications of jobs for later go by it.
INSERT INTO taskq_workers (name, queue_names, concurrency)
VALUES (@name::text, sqlc.narg(queue_names)::text [], @concurrency::integer)
RETURNING id, extract(EPOCH FROM clock_timestamp())::double precision AS server_time;

-- name: BeatWorker :one
-- Puts the row back if it is gone, as it was taken for dead: the id, and with it the worker's hold on
-- the jobs that nobody rescued, stays. registered is false then.
WITH beat AS (
    INSERT INTO taskq_workers (id, name, queue_names)
    VALUES (@id::bigint, @name::text, sqlc.narg(queue_names)::text [])
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = now()
    RETURNING xmax <> 0 AS registered
)

SELECT
    beat.registered::boolean AS registered,
    extract(EPOCH FROM clock_timestamp())::double precision AS server_time
FROM beat;

-- name: ListColleagues :many
-- The workers that are alive, so that those who hear the same notification know who goes first; and
-- for how long each has said nothing, in seconds, to be there when it is too long.
SELECT
    worker.id,
    (worker.queue_names IS NULL)::boolean AS serves_all,
    array(
        SELECT queue.name
        FROM unnest(worker.queue_names) AS queue (name)
        WHERE queue.name IS NOT NULL
    )::text [] AS queue_names,
    extract(EPOCH FROM now() - worker.last_heartbeat)::double precision AS silent_for
FROM taskq_workers AS worker
WHERE
    worker.last_heartbeat > now() - make_interval(secs => @stalled_after::double precision)
    AND worker.last_heartbeat < 'infinity';

-- name: UnregisterWorker :exec
DELETE FROM taskq_workers
WHERE id = @id::bigint;

-- name: ListWorkers :many
-- The workers that are registered, and what they have in hand; how long ago they said that they are alive
-- by the server's clock, as no two machines agree. A heartbeat that is no time is as old as can be, and a list
-- of queues that is none is read as one.
SELECT
    worker.id,
    worker.name,
    (worker.queue_names IS NULL)::boolean AS serves_all,
    array(
        SELECT queue.name
        FROM unnest(worker.queue_names) AS queue (name)
        WHERE queue.name IS NOT NULL
    )::text [] AS queue_names,
    worker.started_at,
    worker.last_heartbeat,
    extract(
        EPOCH FROM clock_timestamp() - greatest(
            nullif(worker.last_heartbeat, 'infinity'), '0002-01-01T00:00:00Z'::timestamptz
        )
    )::double precision AS seconds_since_heartbeat,
    coalesce(hand.jobs, 0)::bigint AS doing
FROM taskq_workers AS worker
LEFT JOIN (
    SELECT
        job.worker_id,
        count(*) AS jobs
    FROM taskq_jobs AS job
    WHERE job.status = 'doing'
    GROUP BY job.worker_id
) AS hand ON worker.id = hand.worker_id
ORDER BY worker.started_at, worker.id;
