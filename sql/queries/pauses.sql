-- name: PauseQueue :one
-- Whether the queue was not paused before; else who paused it and why stay as they were. Workers are notified in
-- either case: one may have missed it.
WITH paused AS (
    INSERT INTO taskq_pauses (kind, name, paused_by, reason)
    VALUES ('queue', @name::text, sqlc.narg(paused_by)::text, sqlc.narg(reason)::text)
    ON CONFLICT (kind, name) DO NOTHING
    RETURNING name
),

notified AS (
    SELECT pg_notify(taskq_channel(), taskq_pause(@name::text))
)

SELECT EXISTS (SELECT FROM paused)::boolean AS done
FROM notified;

-- name: ResumeQueue :one
-- Whether the queue was paused. Its workers are notified if so. Its locks need not be opened: a claim leaves them open
-- while the queue of their head is paused.
WITH resumed AS (
    DELETE FROM taskq_pauses
    WHERE kind = 'queue' AND name = @name::text
    RETURNING name
),

notified AS (
    SELECT taskq_notify(resumed.name)
    FROM resumed
)

SELECT (count(*) > 0)::boolean AS done
FROM notified;

-- name: ListPauses :many
SELECT * FROM taskq_pauses
ORDER BY kind, name;
