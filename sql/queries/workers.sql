-- name: RegisterWorker :one
INSERT INTO taskq_workers (name, queue_names)
VALUES (@name::text, sqlc.narg(queue_names)::text [])
RETURNING id;

-- name: BeatWorker :one
-- False when the row is gone: the worker was taken for dead and has to register again.
WITH beat AS (
    UPDATE taskq_workers
    SET last_heartbeat = now()
    WHERE id = @id::bigint
    RETURNING id
)

SELECT EXISTS (SELECT FROM beat) AS registered;

-- name: UnregisterWorker :exec
DELETE FROM taskq_workers
WHERE id = @id::bigint;

-- name: GetChannel :one
-- What a worker has to LISTEN on; the payload of a notification is the name of a queue.
SELECT taskq_channel() AS channel;
