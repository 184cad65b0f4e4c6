-- name: RegisterWorker :one
-- Registers a worker under a new id. Answers also with which incarnation of the database it is registered
-- in; and with the server's clock, in seconds since 1970: notifications of jobs for later go by it.
INSERT INTO taskq_workers (name, queue_names, concurrency, host, version)
VALUES (
    @name::text, sqlc.narg(queue_names)::text [], @concurrency::integer, sqlc.narg(host)::text, sqlc.narg(version)::text
)
RETURNING
    id,
    last_heartbeat,
    taskq_incarnation()::text AS incarnation,
    extract(EPOCH FROM clock_timestamp())::double precision AS server_time;

-- name: BeatWorker :one
-- Says that a worker is alive, and whether it is to stop. No row: the worker is not registered any more. It
-- was taken for dead; or this is another database, or an earlier state of the same one, where its jobs may
-- be others by the same ids. An earlier state has a heartbeat from before the one that the worker knows of; a
-- later heartbeat is its own, whose answer was lost. By the clock that goes on in a statement that waits: of two
-- beats the one that is written later has the later time.
UPDATE taskq_workers
SET
    last_heartbeat = clock_timestamp(),
    stopping = @stopping::boolean
WHERE
    id = @id::bigint
    AND last_heartbeat >= @last_heartbeat::timestamptz
    AND @incarnation::text = taskq_incarnation()
RETURNING
    last_heartbeat,
    extract(EPOCH FROM clock_timestamp())::double precision AS server_time;

-- name: IsWorkerRegistered :one
-- Whether a worker may claim on a connection that is new: what BeatWorker would say there.
SELECT
    EXISTS (
        SELECT
        FROM taskq_workers
        WHERE
            id = @id::bigint
            AND last_heartbeat >= @last_heartbeat::timestamptz
            AND @incarnation::text = taskq_incarnation()
    )::boolean AS registered;

-- name: ListPeers :many
-- The workers that are alive, so that those that get the same notification know which goes first; and
-- for how long each has said nothing, in seconds, to be there when it is too long; less than 0 if the server's clock
-- was put back.
SELECT
    worker.id,
    worker.last_heartbeat,
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

-- name: DisbelieveHeartbeat :exec
-- Takes a worker for dead whose last heartbeat is of a time to come, as the server's clock was put back, unless it has
-- said that it is alive since: it would not be too old until the clock has come round to it. A year is too old for
-- each worker.
UPDATE taskq_workers
SET last_heartbeat = now() - make_interval(years => 1)
WHERE id = @id::bigint AND last_heartbeat = @last_heartbeat::timestamptz;

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
    worker.concurrency,
    worker.host,
    worker.version,
    worker.stopping,
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
