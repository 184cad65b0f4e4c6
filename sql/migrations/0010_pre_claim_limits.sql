-- What a claim takes of limits.

-- Jobs of limits that have room, for a claim. Of each limit no more than it has room for, and of limits of one priority
-- one job each in turn: in what order they come among other jobs, order_id says. The claim has the advisory lock of
-- each limit that is visited, until it commits.
CREATE FUNCTION taskq_limited_jobs(
    queue_names text [],
    max_jobs integer,
    has_paused_tasks boolean,
    OUT gates tid [],
    OUT visited text [],
    OUT rooms bigint [],
    OUT paces interval [],
    OUT ids bigint [],
    OUT priorities integer [],
    OUT order_ids bigint [],
    OUT locks text [],
    OUT limit_keys text []
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    new_gates tid [];
    reached integer;
    has_parked boolean;
    -- How many jobs of one limit: twice as many as it takes of each to have enough.
    most bigint;
    -- Side by side with the new gates: of which limits they are, where, and since when.
    gate_keys text [];
    gate_queues text [];
    turns bigint [];
BEGIN
    gates := '{}';
    visited := '{}';
    rooms := '{}';
    paces := '{}';
    ids := '{}';
    priorities := '{}';
    order_ids := '{}';
    locks := '{}';
    limit_keys := '{}';

    has_parked := EXISTS (
        SELECT
        FROM (
            SELECT gate.limit_key
            FROM taskq_open_gates AS gate
            WHERE gate.limit_key IS NOT NULL
            ORDER BY gate.limit_key
            LIMIT 1
        ) AS first
    );

    -- Each time twice as many, 1,023 times max_jobs in all, until what it found has the priority that it has come down
    -- to. A gate may be of a limit without room, or have the priority of the job that ended, above that of all that
    -- wait: jobs behind it would else be overtaken by others of lower priority.
    FOR round IN 0..9 LOOP
        WITH gate AS MATERIALIZED (
            SELECT
                open_gate.ctid,
                open_gate.limit_key,
                queue.name AS queue_name,
                open_gate.priority,
                open_gate.turn
            FROM (SELECT DISTINCT unnest(queue_names) COLLATE "C" AS name) AS queue
            CROSS JOIN LATERAL (
                SELECT
                    first.ctid,
                    first.limit_key,
                    first.priority,
                    first.turn
                FROM taskq_limit_gates AS first
                WHERE
                    first.open_at IS NULL AND first.queue_name = queue.name
                    -- Hashed, other than <> ALL of what is not known to the plan.
                    AND first.limit_key NOT IN (SELECT unnest(visited))
                ORDER BY first.queue_name, first.priority DESC, first.turn
                LIMIT 4 * (max_jobs << round)
            ) AS open_gate
        ),

        mine AS MATERIALIZED (
            SELECT
                best.limit_key,
                best.priority
            FROM (
                SELECT
                    gate.limit_key,
                    max(gate.priority) AS priority
                FROM gate
                GROUP BY gate.limit_key
                ORDER BY max(gate.priority) DESC, min(gate.turn)
            ) AS best
            WHERE taskq_try_gate(best.limit_key)
            LIMIT max_jobs << round
        )

        SELECT
            array_agg(gate.ctid),
            array_agg(gate.limit_key),
            array_agg(gate.queue_name),
            array_agg(gate.turn),
            (SELECT min(mine.priority) FROM mine)
        INTO new_gates, gate_keys, gate_queues, turns, reached
        FROM gate
        -- No join, for which IN alone would do as well: where the planner has seen no gate yet, it would compare each
        -- with each, 26 ms of a claim of 500.
        WHERE (gate.limit_key IN (SELECT mine.limit_key FROM mine)) IS TRUE;

        EXIT WHEN new_gates IS NULL;
        gates := gates || new_gates;
        most := 1 + 2 * max_jobs / (SELECT count(DISTINCT named.limit_key) FROM unnest(gate_keys) AS named (limit_key));

        IF has_paused_tasks THEN
            PERFORM taskq_bar_paused_jobs(ARRAY(
                SELECT job.id
                FROM (SELECT DISTINCT * FROM unnest(gate_keys, gate_queues)) AS place (limit_key, queue_name)
                CROSS JOIN LATERAL (
                    (
                        SELECT waiting.id
                        FROM taskq_limited AS waiting
                        WHERE waiting.limit_key = place.limit_key AND waiting.queue_name = place.queue_name
                        ORDER BY waiting.limit_key, waiting.queue_name, waiting.priority DESC, waiting.id
                        LIMIT 1000
                    )
                    UNION ALL
                    (
                        SELECT gate.job_id
                        FROM taskq_open_gates AS gate
                        WHERE gate.limit_key = place.limit_key AND gate.queue_name = place.queue_name
                        ORDER BY gate.limit_key, gate.queue_name, gate.priority DESC, gate.job_id
                        LIMIT 1000
                    )
                ) AS job
            ));
        END IF;

        IF has_parked THEN
            -- What has waited here and is not the next of its lock any more, as after it was cancelled, goes back to
            -- its lock. It would else take the place of another job in this claim, and not be claimed.
            FOR step IN 0..9 LOOP
                UPDATE taskq_open_gates
                SET limit_key = null
                WHERE
                    ctid = ANY(ARRAY(
                        SELECT gate.ctid
                        FROM (SELECT DISTINCT * FROM unnest(gate_keys, gate_queues)) AS place (limit_key, queue_name)
                        CROSS JOIN LATERAL (
                            SELECT
                                waiting.ctid,
                                waiting.job_id,
                                waiting.lock
                            FROM taskq_open_gates AS waiting
                            WHERE waiting.limit_key = place.limit_key AND waiting.queue_name = place.queue_name
                            ORDER BY waiting.limit_key, waiting.queue_name, waiting.priority DESC, waiting.job_id
                            LIMIT most << step
                        ) AS gate
                        WHERE
                            taskq_try_gate(gate.lock)
                            AND (
                                EXISTS (SELECT FROM taskq_lock_holder(gate.lock) AS holder)
                                OR NOT EXISTS (
                                    SELECT FROM taskq_lock_head(gate.lock) AS head
                                    WHERE
                                        head.id = gate.job_id AND head.due
                                        AND head.queue_name = place.queue_name AND head.limit_key = place.limit_key
                                )
                            )
                    ));

                EXIT WHEN NOT FOUND;
            END LOOP;
        END IF;

        -- A statement after the one that took the advisory locks. Joins are kept out of it: the planner does not know
        -- how many limits there are, and would go through all of them for each.
        WITH visited_limit AS MATERIALIZED (
            SELECT
                named.limit_key,
                named.queues,
                named.turn,
                state.room,
                state.pace,
                least(state.room, most) AS most
            FROM (
                SELECT
                    gate.limit_key COLLATE "C" AS limit_key,
                    array_agg(DISTINCT gate.queue_name) AS queues,
                    min(gate.turn) AS turn
                FROM unnest(gate_keys, gate_queues, turns) AS gate (limit_key, queue_name, turn)
                GROUP BY gate.limit_key COLLATE "C"
            ) AS named
            CROSS JOIN LATERAL taskq_limit_state(named.limit_key) AS state
        ),

        place AS MATERIALIZED (
            SELECT
                visited_limit.limit_key,
                visited_limit.turn,
                visited_limit.room,
                visited_limit.most,
                unnest(visited_limit.queues) AS queue_name
            FROM visited_limit
            WHERE visited_limit.most > 0
        ),

        candidate AS MATERIALIZED (
            SELECT numbered.*
            FROM (
                SELECT
                    job.*,
                    row_number() OVER (
                        PARTITION BY job.limit_key ORDER BY job.priority DESC, job.id
                    ) AS round
                FROM (
                    SELECT
                        waiting.id,
                        waiting.priority,
                        null AS lock,
                        place.limit_key,
                        place.turn,
                        place.room
                    FROM place
                    CROSS JOIN LATERAL (
                        SELECT
                            job.id,
                            job.priority
                        FROM taskq_limited AS job
                        WHERE job.limit_key = place.limit_key AND job.queue_name = place.queue_name
                        ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
                        LIMIT place.most
                    ) AS waiting
                    UNION ALL
                    SELECT
                        parked.id,
                        parked.priority,
                        parked.lock,
                        place.limit_key,
                        place.turn,
                        place.room
                    FROM place
                    CROSS JOIN LATERAL (
                        SELECT
                            max(gate.job_id) AS id,
                            max(gate.priority) AS priority,
                            gate.lock
                        FROM taskq_open_gates AS gate
                        WHERE gate.limit_key = place.limit_key AND gate.queue_name = place.queue_name
                        GROUP BY gate.lock
                        ORDER BY max(gate.priority) DESC, max(gate.job_id)
                        LIMIT place.most
                    ) AS parked
                    WHERE has_parked AND taskq_try_gate(parked.lock)
                ) AS job
            ) AS numbered
            WHERE numbered.round <= numbered.room
        )

        -- Of each priority they take one another's places in turn.
        SELECT
            ids || array_agg(in_turn.id),
            priorities || array_agg(in_turn.priority),
            order_ids || (SELECT array_agg(candidate.id ORDER BY candidate.priority DESC, candidate.id) FROM candidate),
            locks || array_agg(in_turn.lock),
            limit_keys || array_agg(in_turn.limit_key),
            visited || (SELECT array_agg(visited_limit.limit_key) FROM visited_limit),
            rooms || (SELECT array_agg(visited_limit.room) FROM visited_limit),
            paces || (SELECT array_agg(visited_limit.pace) FROM visited_limit)
        INTO ids, priorities, order_ids, locks, limit_keys, visited, rooms, paces
        FROM (
            SELECT candidate.* FROM candidate
            ORDER BY candidate.priority DESC, candidate.round, candidate.turn, candidate.id
        ) AS in_turn;

        EXIT WHEN cardinality(new_gates) < max_jobs << round;
        EXIT WHEN (SELECT count(*) FROM unnest(priorities) AS job (priority) WHERE job.priority >= reached) >= max_jobs;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION taskq_limited_jobs(text [], integer, boolean) IS
    'The jobs that a claim may take of limits with open gates in some queues; the gates that it has come to, and the '
    'limits that they are of with how much room each has.';


-- What becomes of the gates that a claim has come to, in statements after it took its jobs. A limit that what runs
-- fills is left without one: the end of any of it brings one. A gate that came in meanwhile stays.
CREATE FUNCTION taskq_settle_limits(
    gates tid [],
    limit_keys text [],
    rooms bigint [],
    paces interval [],
    queue_names text [],
    claimed bigint []
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    open_keys text [];
    notified bigint;
BEGIN
    -- Without joins, as in taskq_limited_jobs.
    WITH gone AS (
        DELETE FROM taskq_limit_gates AS gate
        WHERE
            gate.ctid = ANY(gates || ARRAY(
                -- What gives starts back, and what is for later: when the next one may start is found anew.
                SELECT other.ctid
                FROM taskq_limit_gates AS other
                WHERE
                    -- Whether there are any at all, asked once.
                    (
                        (
                            SELECT returned.limit_key FROM taskq_limit_gates AS returned
                            WHERE returned.tokens IS NOT NULL
                            ORDER BY returned.limit_key
                            LIMIT 1
                        ) IS NOT NULL
                        OR (
                            SELECT later.open_at FROM taskq_limit_gates AS later
                            WHERE later.open_at IS NOT NULL
                            ORDER BY later.open_at
                            LIMIT 1
                        ) IS NOT NULL
                    )
                    AND other.limit_key = ANY(limit_keys)
                    -- Starts that came back to another queue are taken into account by now, and are not to be again.
                    AND (
                        other.tokens IS NOT NULL
                        OR (other.open_at IS NOT NULL AND other.queue_name = ANY(queue_names))
                    )
                -- One that is just being opened.
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING gate.limit_key, gate.tokens, gate.claimed_at
    ),

    settled AS MATERIALIZED (
        SELECT
            fact.limit_key,
            max(fact.pace) AS pace,
            sum(fact.started) AS started,
            sum(fact.credit) AS credit,
            max(fact.room) IS NOT NULL AS was_visited,
            -- By what the claim took.
            max(fact.pace) IS NULL AND sum(fact.started) >= max(fact.room) AND sum(fact.started) > 0 AS is_full
        FROM (
            SELECT
                named.limit_key,
                named.room,
                named.pace,
                0 AS started,
                '0 seconds'::interval AS credit
            FROM unnest(limit_keys, rooms, paces) AS named (limit_key, room, pace)
            UNION ALL
            SELECT
                gone.limit_key,
                null,
                null,
                0,
                CASE
                    WHEN gone.tokens IS NOT NULL
                        THEN (
                            SELECT
                                gone.tokens
                                * max(greatest(gone.claimed_at + named.pace - now(), '0 seconds'::interval))
                            FROM unnest(limit_keys, paces) AS named (limit_key, pace)
                            WHERE named.limit_key = gone.limit_key
                        )
                END
            FROM gone
            UNION ALL
            SELECT
                job.limit_key,
                null,
                null,
                1,
                null
            FROM taskq_jobs AS job
            -- Not by what is doing: the planner would take the index of all that is.
            WHERE job.id = ANY(claimed) AND job.status <> 'todo' AND job.limit_key IS NOT NULL
            UNION ALL
            SELECT
                queue_limit.limit_key,
                null,
                null,
                1,
                null
            FROM taskq_queue_limits AS queue_limit
            INNER JOIN taskq_jobs AS job ON queue_limit.queue_name = job.queue_name
            WHERE
                -- Else the jobs are not read once more.
                EXISTS (SELECT FROM taskq_queue_limits)
                AND job.id = ANY(claimed) AND job.status <> 'todo'
                AND job.limit_key IS DISTINCT FROM queue_limit.limit_key
        ) AS fact
        GROUP BY fact.limit_key
    ),

    paced AS (
        INSERT INTO taskq_limit_rates (limit_key, spent_until)
        SELECT
            settled.limit_key,
            greatest(coalesce(used.spent_until, now()) - settled.credit, now())
            + settled.started * settled.pace
        FROM settled
        LEFT JOIN taskq_limit_rates AS used ON settled.limit_key = used.limit_key
        WHERE settled.pace IS NOT NULL AND (settled.started > 0 OR settled.credit > '0 seconds')
        ON CONFLICT (limit_key) DO UPDATE
        SET spent_until = excluded.spent_until
    )

    SELECT array_agg(settled.limit_key)
    INTO open_keys
    FROM settled
    WHERE settled.was_visited AND NOT settled.is_full;

    IF open_keys IS NULL THEN
        RETURN;
    END IF;

    -- In all queues in which jobs wait: what has ended was perhaps in another one.
    WITH waiting AS MATERIALIZED (
        SELECT place.* FROM taskq_limit_places(open_keys) AS place
    ),

    place AS MATERIALIZED (
        SELECT
            waiting.limit_key,
            waiting.queue_name,
            waiting.priority,
            false AS is_queue_limit
        FROM waiting
        UNION ALL
        -- For the next start of a queue's own limit, if its rate lets none now.
        SELECT
            queue_limit.limit_key,
            queue_limit.queue_name,
            0 AS priority,
            true AS is_queue_limit
        FROM taskq_queue_limits AS queue_limit
        WHERE queue_limit.limit_key = ANY(open_keys)
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key, open_at)
        SELECT
            place.queue_name,
            max(place.priority),
            taskq_turn(),
            place.limit_key,
            CASE
                WHEN state.next_at IS NOT NULL THEN state.next_at
                -- The limit is not defined yet.
                WHEN state.room = 0 THEN now() + '1 second'
            END
        FROM place
        CROSS JOIN LATERAL taskq_limit_state(place.limit_key) AS state
        WHERE
            CASE
                WHEN state.next_at IS NOT NULL THEN true
                ELSE NOT place.is_queue_limit AND (state.room > 0 OR state.running = 0)
            END
            AND NOT EXISTS (
                SELECT FROM taskq_limit_gates AS gate
                WHERE gate.limit_key = place.limit_key AND gate.queue_name = place.queue_name
            )
        GROUP BY place.queue_name, place.limit_key, state.room, state.next_at
        RETURNING queue_name, open_at
    ),

    notified_queue AS (
        SELECT taskq_notify(opened.queue_name, opened.open_at IS NULL, min(opened.open_at))
        FROM opened
        WHERE opened.open_at IS NOT NULL OR opened.queue_name <> ALL(queue_names)
        GROUP BY opened.queue_name, opened.open_at IS NULL
    )

    SELECT count(*) INTO notified FROM notified_queue;
END;
$$;

COMMENT ON FUNCTION taskq_settle_limits(tid [], text [], bigint [], interval [], text [], bigint []) IS
    'Takes what a claim has started from the rates of limits, and opens those that still have room for jobs that wait.';
