-- name: ListReadyQueues :many
-- The queues that have a ready job or an open gate and are not barred, those with the best first: the best
-- max_queues jobs of all are in them. Asked when it is not known, and not before each claim: by going from queue
-- to queue it takes 10 µs for each that has something.
WITH RECURSIVE queue AS (
    SELECT taskq_next_ready_queue('') AS name
    UNION ALL
    SELECT taskq_next_ready_queue(queue.name)
    FROM queue
    WHERE queue.name IS NOT NULL
)

SELECT queue.name::text AS queue_name
FROM queue
CROSS JOIN LATERAL (
    (
        SELECT
            job.priority,
            job.id
        FROM taskq_ready AS job
        WHERE job.queue_name = queue.name
        ORDER BY job.queue_name, job.priority DESC, job.id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT
            gate.priority,
            gate.job_id AS id
        FROM taskq_open_gates AS gate
        WHERE gate.limit_key IS NULL AND gate.queue_name = queue.name
        ORDER BY gate.queue_name, gate.priority DESC, gate.job_id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT
            gate.priority,
            0 AS id
        FROM taskq_limit_gates AS gate
        WHERE gate.open_at IS NULL AND gate.queue_name = queue.name
        ORDER BY gate.queue_name, gate.priority DESC, gate.turn
        LIMIT 1
    )
) AS first
GROUP BY queue.name
ORDER BY max(first.priority) DESC, min(first.id)
LIMIT @max_queues::integer;

-- name: ClaimJobs :many
-- Takes the next jobs for a worker, by priority, then id: ready ones from ranges of their index, and those with a
-- lock or a limit by the open gates. See taskq_claim_jobs in the migrations. At most 1,000 at once.
--
-- A range is a queue's jobs between two priorities, or those of its highest priority after an id. While another
-- transaction holds the xmin horizon, the entries of jobs that are long claimed stay at the front of the index and
-- a claim from the start would walk them each time: 3 ms at first, 50 to 70 ms when 200k jobs had passed. So a
-- worker whose claims flow goes on behind what it has claimed: 3 to 4 ms then (PostgreSQL 18,
-- `python -m benchmarks --only held`).
--
-- What its function does a statement does not show; this does. It changes jobs, and so nothing sends it a second
-- time. And it holds their table before its columns are looked up: of a migration that is about to change them, it
-- would otherwise wait within the function, which then answers with other columns than were expected.
WITH changes AS (
    DELETE FROM taskq_jobs
    WHERE false
)

SELECT *
FROM taskq_claim_jobs(
    @worker_id::bigint,
    @queue_names::text [],
    @highest::bigint [],
    @lowest::bigint [],
    @after_ids::bigint [],
    @max_jobs::integer,
    @run_length::integer
);

-- name: HasReadyJobs :one
-- Whether a claim is worth trying: a hundredth of its cost, and nothing written. It errs only towards
-- yes, for a gate that is open and lets nothing in.
SELECT
    (
        CASE
            WHEN sqlc.narg(queue_names)::text [] IS NULL THEN taskq_next_ready_queue('') IS NOT NULL
            ELSE EXISTS (
                SELECT
                FROM unnest(sqlc.narg(queue_names)::text []) AS named (name)
                WHERE taskq_is_ready(named.name)
            )
        END
    )::boolean AS ready,
    -- Transactions from oldest on may still be under way, and bring jobs without a notification;
    -- next and later ones notify by themselves.
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_transaction,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction;
