-- name: Pause :one
-- Whether the queue or the task was not paused before; else who paused it and why stay as they were. Workers are
-- notified in either case: one may have missed it. The jobs of a task stay where they are until claims come to them.
WITH paused AS (
    INSERT INTO taskq_pauses (kind, name, paused_by, reason)
    VALUES (@kind::text, @name::text, sqlc.narg(paused_by)::text, sqlc.narg(reason)::text)
    ON CONFLICT (kind, name) DO NOTHING
    RETURNING name
),

notified AS (
    SELECT pg_notify(taskq_channel(), taskq_pause(@kind::text, @name::text))
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

-- name: ResumeTask :one
-- Whether the task was paused. Claims that take jobs of it out of their way have the row, so that it goes after them;
-- what they have taken out is let in after that, by a function with a snapshot of its own.
WITH resumed AS (
    DELETE FROM taskq_pauses
    WHERE kind = 'task' AND name = @name::text
    RETURNING name
)

SELECT
    (count(*) > 0)::boolean AS done,
    coalesce(sum(taskq_let_in_paused_jobs(resumed.name)), 0)::bigint AS notified
FROM resumed;

-- name: ListPauses :many
SELECT * FROM taskq_pauses
ORDER BY kind, name;
