-- Which queues have something for a claim.

CREATE FUNCTION taskq_next_filled_queue(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        least(
            (
                SELECT job.queue_name
                FROM taskq_ready AS job
                WHERE job.queue_name > after
                ORDER BY job.queue_name, job.priority DESC, job.id
                LIMIT 1
            ),
            (
                SELECT gate.queue_name
                FROM taskq_open_gates AS gate
                WHERE gate.limit_key IS NULL AND gate.queue_name > after
                ORDER BY gate.queue_name, gate.priority DESC, gate.job_id
                LIMIT 1
            ),
            (
                SELECT gate.queue_name
                FROM taskq_limit_gates AS gate
                WHERE gate.open_at IS NULL AND gate.queue_name > after
                ORDER BY gate.queue_name, gate.priority DESC, gate.turn
                LIMIT 1
            )
        );
END;

COMMENT ON FUNCTION taskq_next_filled_queue(text) IS
    'The next queue after a name, by bytes, that has a ready job or an open gate, barred or not; null: none.';


-- The function is planned only where a queue has a limit: as a part of the view it would be planned with each check for
-- jobs, in a millisecond.
CREATE VIEW taskq_barred_queues AS
SELECT pause.name
FROM taskq_pauses AS pause
WHERE pause.kind = 'queue'
UNION ALL
SELECT limited.queue_name AS name
FROM taskq_queue_limits AS limited
WHERE taskq_is_full(limited.limit_key);

COMMENT ON VIEW taskq_barred_queues IS 'The queues that are paused, or whose limit has no room.';


-- One probe of each index for each queue that is barred, whatever is in them.
CREATE FUNCTION taskq_next_ready_queue(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH RECURSIVE queue AS (
        SELECT taskq_next_filled_queue(after) AS name
        UNION ALL
        SELECT taskq_next_filled_queue(queue.name)
        FROM queue
        WHERE EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue.name)
    )

    SELECT queue.name
    FROM queue
    WHERE NOT EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue.name)
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_next_ready_queue(text) IS
    'The next queue after a name, by bytes, that has a ready job or an open gate and is not barred; null: none.';


CREATE FUNCTION taskq_is_ready(queue text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- The first in the order of an index: for any at all, the planner would read the table from its start, past all
    -- that is finished.
    SELECT
        (
            EXISTS (
                SELECT
                FROM (
                    SELECT job.id
                    FROM taskq_ready AS job
                    WHERE job.queue_name = queue
                    ORDER BY job.queue_name, job.priority DESC, job.id
                    LIMIT 1
                ) AS first
            )
            OR EXISTS (
                SELECT FROM taskq_open_gates AS gate WHERE gate.limit_key IS NULL AND gate.queue_name = queue
            )
            OR EXISTS (
                SELECT FROM taskq_limit_gates AS gate WHERE gate.open_at IS NULL AND gate.queue_name = queue
            )
        )
        AND NOT EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue);
END;

COMMENT ON FUNCTION taskq_is_ready(text) IS 'Whether a queue has a ready job or an open gate, and is not barred.';
