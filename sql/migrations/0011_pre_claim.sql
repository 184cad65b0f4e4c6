-- How a worker comes to its next jobs.

-- Planned as a part of what calls it. In two branches, as an index is searched by what comes after an id only where
-- the priority is one; 0 is no id.
CREATE FUNCTION taskq_ready_jobs(queue text, highest bigint, lowest bigint, after_id bigint)
RETURNS TABLE (id bigint, priority integer, task_name text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    (
        SELECT
            job.id,
            job.priority,
            job.task_name
        FROM taskq_ready AS job
        WHERE
            job.queue_name = queue
            AND job.priority BETWEEN lowest AND highest
            AND after_id = 0
        ORDER BY job.priority DESC, job.id
        LIMIT 1000
    )
    UNION ALL
    (
        SELECT
            job.id,
            job.priority,
            job.task_name
        FROM taskq_ready AS job
        WHERE
            job.queue_name = queue
            AND job.priority = highest
            AND job.id > after_id AND after_id > 0
        ORDER BY job.id
        LIMIT 1000
    );
END;

COMMENT ON FUNCTION taskq_ready_jobs(text, bigint, bigint, bigint) IS
    'The first 1,000 ready jobs of a queue in their order: between two priorities, or of the highest after an id.';


-- Not in SQL, as what is not planned as a part of its caller is planned for each call: 0.3 ms of a claim's 1.3.
CREATE FUNCTION taskq_take_ready_jobs(
    queue text, highest bigint, lowest bigint, after_id bigint, max_jobs bigint
) RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT taken.id
    FROM (
        SELECT between_two.id
        FROM (
            SELECT job.id
            FROM taskq_ready AS job
            WHERE
                job.queue_name = queue
                AND job.priority BETWEEN lowest AND highest
                AND after_id = 0
            ORDER BY job.priority DESC, job.id
            LIMIT max_jobs
            FOR UPDATE SKIP LOCKED
        ) AS between_two
        UNION ALL
        SELECT behind.id
        FROM (
            SELECT job.id
            FROM taskq_ready AS job
            WHERE
                job.queue_name = queue
                AND job.priority = highest
                AND job.id > after_id AND after_id > 0
            ORDER BY job.id
            LIMIT max_jobs
            FOR UPDATE SKIP LOCKED
        ) AS behind
    ) AS taken;
END;
$$;

COMMENT ON FUNCTION taskq_take_ready_jobs(text, bigint, bigint, bigint, bigint) IS
    'Locks the first of taskq_ready_jobs that no other transaction has locked.';


-- A claim waits for no other transaction. Each of its statements has a snapshot of its own, and so the claim that has
-- the advisory lock of a lock sees all that was committed by those that had it before.
CREATE FUNCTION taskq_claim_jobs(
    worker_id bigint,
    queue_names text [],
    highest bigint [],
    lowest bigint [],
    after_ids bigint [],
    max_jobs integer,
    run_length integer
) RETURNS SETOF taskq_jobs
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    paused_queues text [];
    paused_tasks text [];
    has_queue_limits boolean;
    has_open_locks boolean;
    has_open_limits boolean;
    has_expired boolean;
    -- The limits of the queues, and how much room they have; of a queue without one, null.
    queue_limits text [] := '{}';
    rooms bigint [];
    served text [] := queue_names;
    -- The gates of locks that it has come to, and those of them that go: they bar, have moved, or are claimed.
    runs record;
    gates tid [] := '{}';
    gate_locks text [] := '{}';
    settled text [] := '{}';
    -- The limits that it has come to.
    limited record;
    limit_gates tid [] := '{}';
    limits_visited text [] := '{}';
    limit_rooms bigint [] := '{}';
    limit_paces interval [] := '{}';
    -- Side by side, the jobs of both.
    run_ids bigint [] := '{}';
    run_priorities integer [] := '{}';
    run_orders bigint [] := '{}';
    run_locks text [] := '{}';
    run_places integer [] := '{}';
    run_limits text [] := '{}';
    -- Those of them that it takes, and how many ready jobs of each range.
    held record;
    gated bigint [] := '{}';
    shares bigint [];
    taken bigint [];
BEGIN
    -- A statement of its own, and the first: it sees each pause that was committed before the claim began. The heads
    -- of locks in a queue that is left out here hold those that follow them, as in any that the worker does not serve.
    SELECT
        coalesce(array_agg(pause.name) FILTER (WHERE pause.kind = 'queue'), '{}'),
        coalesce(array_agg(pause.name) FILTER (WHERE pause.kind = 'task'), '{}'),
        EXISTS (SELECT FROM taskq_queue_limits),
        EXISTS (
            SELECT
            FROM (
                SELECT gate.lock
                FROM taskq_open_gates AS gate
                WHERE gate.limit_key IS NULL
                ORDER BY gate.queue_name, gate.priority DESC, gate.job_id
                LIMIT 1
            ) AS first
        ),
        EXISTS (
            SELECT
            FROM (
                SELECT gate.limit_key
                FROM taskq_limit_gates AS gate
                WHERE gate.open_at IS NULL
                ORDER BY gate.queue_name, gate.priority DESC, gate.turn
                LIMIT 1
            ) AS first
        ),
        EXISTS (
            SELECT
            FROM (
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.expires_at <= now()
                ORDER BY job.expires_at
                LIMIT 1
            ) AS first
        )
    INTO paused_queues, paused_tasks, has_queue_limits, has_open_locks, has_open_limits, has_expired
    FROM taskq_pauses AS pause;

    IF has_expired THEN
        -- What is in the way goes first, as after a time without workers: ten thousand at most. What is left is not
        -- claimed, and keeps its place until the next claim or PromoteJobs comes to it.
        FOR round IN 1..10 LOOP
            EXIT WHEN (SELECT expired.jobs FROM taskq_expire_jobs(1000) AS expired) < 1000;
        END LOOP;
    END IF;

    IF has_queue_limits THEN
        -- A queue whose limit another claim is at is left out, and so is one whose limit has no room.
        SELECT
            array_agg(mine.limit_key),
            paused_queues || array_agg(mine.queue_name) FILTER (WHERE mine.limit_key IS NULL)
        INTO queue_limits, paused_queues
        FROM (
            SELECT
                limited.queue_name,
                CASE
                    WHEN taskq_try_gate(limited.limit_key) THEN limited.limit_key
                END AS limit_key
            FROM taskq_queue_limits AS limited
            WHERE limited.queue_name = ANY(queue_names) AND limited.queue_name <> ALL(paused_queues)
        ) AS mine;

        queue_limits := coalesce(array_remove(queue_limits, null), '{}');
    END IF;

    IF queue_limits <> '{}' THEN
        SELECT
            array_agg(key.name),
            array_agg(state.room),
            array_agg(state.pace)
        INTO limits_visited, limit_rooms, limit_paces
        FROM (SELECT DISTINCT unnest(queue_limits) COLLATE "C" AS name) AS key
        CROSS JOIN LATERAL taskq_limit_state(key.name) AS state;
    END IF;

    IF paused_queues <> '{}' OR queue_limits <> '{}' THEN
        SELECT
            array_agg(range.queue_name ORDER BY range.ordinality),
            array_agg(range.highest ORDER BY range.ordinality),
            array_agg(range.lowest ORDER BY range.ordinality),
            array_agg(range.after_id ORDER BY range.ordinality),
            array_agg(visited.room ORDER BY range.ordinality)
        INTO queue_names, highest, lowest, after_ids, rooms
        FROM unnest(queue_names, highest, lowest, after_ids)
            WITH ORDINALITY AS range (queue_name, highest, lowest, after_id, ordinality)
        LEFT JOIN taskq_queue_limits AS limited ON range.queue_name = limited.queue_name
        LEFT JOIN unnest(limits_visited, limit_rooms) AS visited (limit_key, room)
            ON limited.limit_key = visited.limit_key
        WHERE range.queue_name <> ALL(paused_queues) AND coalesce(visited.room, 1) > 0;

        IF queue_names IS NULL THEN
            PERFORM taskq_settle_limits('{}', limits_visited, limit_rooms, limit_paces, served, '{}');
            RETURN;
        END IF;
    END IF;

    IF has_open_locks THEN
        runs := taskq_lock_runs(queue_names, max_jobs, run_length, paused_tasks);
        run_ids := runs.ids;
        run_priorities := runs.priorities;
        run_orders := runs.ids;
        run_locks := runs.locks;
        run_places := runs.places;
        run_limits := array_fill(null::text, ARRAY[cardinality(runs.ids)]);
        gates := runs.gates;
        gate_locks := runs.gate_locks;
        settled := runs.settled;
        has_open_limits := has_open_limits OR runs.parked;
    END IF;

    IF has_open_limits THEN
        limited := taskq_limited_jobs(queue_names, max_jobs, paused_tasks <> '{}');
        limit_gates := coalesce(limited.gates, '{}');
        limits_visited := limits_visited || limited.visited;
        limit_rooms := limit_rooms || limited.rooms;
        limit_paces := limit_paces || limited.paces;
        run_ids := run_ids || limited.ids;
        run_priorities := run_priorities || limited.priorities;
        run_orders := run_orders || limited.order_ids;
        run_locks := run_locks || limited.locks;
        run_places := run_places || array_fill(1, ARRAY[cardinality(limited.ids)]);
        run_limits := run_limits || limited.limit_keys;
    END IF;

    IF paused_tasks <> '{}' THEN
        -- Ten thousand at most. What is left is not claimed, and the next claim goes on with it.
        FOR round IN 1..10 LOOP
            EXIT WHEN taskq_bar_paused_jobs(ARRAY(
                SELECT job.id
                FROM unnest(queue_names, highest, lowest, after_ids)
                    AS range (queue_name, highest, lowest, after_id)
                CROSS JOIN LATERAL taskq_ready_jobs(
                    range.queue_name, range.highest, range.lowest, range.after_id
                ) AS job
                WHERE job.task_name = ANY(paused_tasks)
            )) = 0;
        END LOOP;
    END IF;

    IF cardinality(run_ids) = 0 AND cardinality(queue_names) = 1 THEN
        shares := ARRAY[least(max_jobs, rooms[1])];
    ELSE
        -- The best of all. Of a lock first only the head, as others can run beside it; then those that follow.
        WITH best AS MATERIALIZED (
            SELECT
                candidate.id,
                candidate.range,
                candidate.limit_key,
                row_number() OVER (
                    ORDER BY candidate.place > 1, candidate.priority DESC, candidate.order_id
                ) AS number
            FROM (
                SELECT
                    run.id,
                    run.priority,
                    run.order_id,
                    run.place,
                    run.limit_key,
                    null::bigint AS range
                FROM unnest(run_ids, run_priorities, run_orders, run_places, run_limits)
                    AS run (id, priority, order_id, place, limit_key)
                UNION ALL
                SELECT
                    ready.id,
                    ready.priority,
                    ready.id AS order_id,
                    1 AS place,
                    null AS limit_key,
                    range.ordinality AS range
                FROM unnest(queue_names, highest, lowest, after_ids, rooms)
                    WITH ORDINALITY AS range (queue_name, highest, lowest, after_id, room, ordinality)
                CROSS JOIN LATERAL (
                    SELECT
                        job.id,
                        job.priority
                    FROM taskq_ready_jobs(
                        range.queue_name, range.highest, range.lowest, range.after_id
                    ) AS job
                    LIMIT least(max_jobs, range.room)
                ) AS ready
            ) AS candidate
            ORDER BY number
            LIMIT max_jobs
        ),

        -- In a queue with a limit, each of its jobs takes up room there as well as in its own limit, which may be the
        -- same one.
        counted AS MATERIALIZED (
            SELECT
                best.id,
                key.name,
                row_number() OVER (PARTITION BY key.name ORDER BY best.number) AS number
            FROM best
            INNER JOIN taskq_jobs AS job ON best.id = job.id
            LEFT JOIN taskq_queue_limits AS limited ON job.queue_name = limited.queue_name
            CROSS JOIN LATERAL (
                SELECT best.limit_key AS name
                UNION
                SELECT limited.limit_key
            ) AS key
            WHERE queue_limits <> '{}' AND key.name = ANY(limits_visited)
        ),

        crowded AS (
            SELECT counted.id
            FROM (SELECT DISTINCT counted.name FROM counted) AS key
            CROSS JOIN LATERAL taskq_limit_state(key.name) AS state
            INNER JOIN counted ON key.name = counted.name
            WHERE counted.number > state.room
        ),

        wanted AS MATERIALIZED (
            SELECT
                best.id,
                best.range
            FROM best
            WHERE best.id NOT IN (SELECT crowded.id FROM crowded)
        )

        SELECT
            ARRAY(SELECT wanted.id FROM wanted WHERE wanted.range IS NULL),
            ARRAY(
                SELECT count(wanted.id)
                FROM generate_subscripts(queue_names, 1) AS subscript (range)
                LEFT JOIN wanted ON subscript.range = wanted.range
                GROUP BY subscript.range
                ORDER BY subscript.range
            )
        INTO gated, shares;
    END IF;

    IF gated <> '{}' THEN
        held := taskq_take_gated_jobs(
            gated, run_ids, run_locks, run_places, run_limits, queue_names, paused_tasks
        );
        gated := held.taken;
        settled := settled || held.settled;
    END IF;

    IF settled <> '{}' THEN
        DELETE FROM taskq_open_gates
        WHERE
            ctid = ANY(ARRAY(
                SELECT gate.ctid
                FROM unnest(gates, gate_locks) AS gate (ctid, lock)
                WHERE gate.lock IN (SELECT unnest(settled))
            ));
    END IF;

    taken := gated || ARRAY(
        SELECT taskq_take_ready_jobs(
            range.queue_name, range.highest, range.lowest, range.after_id, range.jobs
        )
        FROM unnest(queue_names, highest, lowest, after_ids, shares)
            AS range (queue_name, highest, lowest, after_id, jobs)
        WHERE range.jobs > 0
    );

    RETURN QUERY
    WITH claimed AS (
        UPDATE taskq_jobs
        SET
            status = 'doing',
            worker_id = taskq_claim_jobs.worker_id,
            -- As far as an integer goes: one row must not make the claim of all fail.
            claim = least(taskq_jobs.claim, 999999999) + 1,
            attempt = least(taskq_jobs.attempt, 999999999) + 1,
            started_at = now()
        -- An array, and not a join: the planner takes a number that it does not know for a tenth of the table.
        WHERE
            taskq_jobs.id = ANY(taken) AND taskq_jobs.task_name <> ALL(paused_tasks)
            AND (taskq_jobs.expires_at IS NULL OR taskq_jobs.expires_at > now())
        RETURNING taskq_jobs.*
    )

    SELECT * FROM claimed
    ORDER BY claimed.priority DESC, claimed.id;

    IF limits_visited <> '{}' THEN
        PERFORM taskq_settle_limits(limit_gates, limits_visited, limit_rooms, limit_paces, served, taken);
    END IF;
END;
$$;

COMMENT ON FUNCTION taskq_claim_jobs(bigint, text [], bigint [], bigint [], bigint [], integer, integer) IS
    'Takes the next jobs of some queues for a worker, by priority, then id: those without a lock from ranges of '
    'the ready ones, those with one from the open gates, and of a lock at most run_length in a row.';
