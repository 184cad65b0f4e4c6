-- What a claim takes of locks.

-- Of each lock that is free the head, and those behind it that are to run one after the other. Where one is not free,
-- what bars it brings a gate when it goes; docs/gates.md has the argument.
CREATE FUNCTION taskq_lock_runs(
    queue_names text [],
    max_jobs integer,
    run_length integer,
    paused_tasks text [],
    OUT gates tid [],
    OUT gate_locks text [],
    OUT settled text [],
    OUT ids bigint [],
    OUT priorities integer [],
    OUT locks text [],
    OUT places integer [],
    OUT parked boolean
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    new_gates tid [];
    round_locks text [];
    heads integer;
BEGIN
    gates := '{}';
    gate_locks := '{}';
    settled := '{}';
    ids := '{}';
    priorities := '{}';
    locks := '{}';
    parked := false;

    -- Each time twice as many, as long as what it comes to is held: 1,023 times max_jobs in all.
    FOR round IN 0..9 LOOP
        SELECT
            array_agg(mine.ctid),
            array_agg(mine.lock)
        INTO new_gates, round_locks
        FROM (
            SELECT
                best.ctid,
                best.lock
            FROM (
                SELECT
                    gate.ctid,
                    gate.lock
                FROM (SELECT DISTINCT unnest(queue_names) COLLATE "C" AS name) AS queue
                CROSS JOIN LATERAL (
                    SELECT
                        open_gate.ctid,
                        open_gate.lock,
                        open_gate.priority,
                        open_gate.job_id
                    FROM taskq_open_gates AS open_gate
                    WHERE open_gate.limit_key IS NULL AND open_gate.queue_name = queue.name
                    ORDER BY open_gate.queue_name, open_gate.priority DESC, open_gate.job_id
                    LIMIT 4 * (max_jobs << round)
                ) AS gate
                WHERE gate.ctid NOT IN (SELECT unnest(gates))
                ORDER BY gate.priority DESC, gate.job_id
                LIMIT 4 * (max_jobs << round)
            ) AS best
            WHERE taskq_try_gate(best.lock)
            LIMIT max_jobs << round
        ) AS mine;

        EXIT WHEN new_gates IS NULL;
        gates := gates || new_gates;
        gate_locks := gate_locks || round_locks;

        IF paused_tasks <> '{}' THEN
            PERFORM taskq_bar_paused_jobs(ARRAY(
                SELECT head.id
                FROM unnest(round_locks) AS named (lock)
                CROSS JOIN LATERAL taskq_lock_head(named.lock) AS head
            ));
        END IF;

        -- A gate is deleted without a claim only under a share lock on the job that bars it: what ends or changes
        -- that job comes after, and opens the lock again.
        WITH state AS MATERIALIZED (
            SELECT
                named.lock,
                (SELECT holder.id FROM taskq_lock_holder(named.lock) AS holder) AS holder_id,
                head.id AS head_id,
                head.due,
                head.queue_name,
                head.priority,
                head.limit_key
            FROM (SELECT DISTINCT unnest(round_locks) COLLATE "C" AS lock) AS named
            LEFT JOIN LATERAL taskq_lock_head(named.lock) AS head ON true
            WHERE named.lock NOT IN (SELECT unnest(locks))
        ),

        barring AS (
            SELECT job.lock
            FROM taskq_jobs AS job
            WHERE
                job.id = ANY(ARRAY(
                    SELECT coalesce(state.holder_id, state.head_id)
                    FROM state
                    WHERE state.holder_id IS NOT NULL OR NOT state.due
                ))
                AND (job.status = 'doing' OR (job.status = 'todo' AND (job.paused OR NOT job.due)))
            FOR SHARE SKIP LOCKED
        ),

        -- The head is in a queue that this worker does not serve, or has to have room in a limit, too: its gate moves
        -- to where it is found, and that limit is opened.
        elsewhere AS (
            INSERT INTO taskq_open_gates (queue_name, priority, job_id, lock, limit_key)
            SELECT
                state.queue_name,
                state.priority,
                state.head_id,
                state.lock,
                state.limit_key
            FROM state
            WHERE
                state.holder_id IS NULL AND state.due
                AND (state.queue_name <> ALL(queue_names) OR state.limit_key IS NOT NULL)
            RETURNING lock, queue_name, priority, limit_key
        ),

        at_limit AS (
            INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key)
            SELECT
                elsewhere.queue_name,
                max(elsewhere.priority),
                taskq_turn(),
                elsewhere.limit_key
            FROM elsewhere
            WHERE elsewhere.limit_key IS NOT NULL
            GROUP BY elsewhere.queue_name, elsewhere.limit_key
            RETURNING limit_key
        ),

        head AS (
            SELECT
                state.lock,
                state.head_id,
                state.priority
            FROM state
            WHERE
                state.holder_id IS NULL AND state.due
                AND state.queue_name = ANY(queue_names) AND state.limit_key IS NULL
        )

        SELECT
            settled || ARRAY(
                SELECT barring.lock FROM barring
                UNION ALL
                SELECT elsewhere.lock FROM elsewhere
                UNION ALL
                SELECT state.lock FROM state
                WHERE state.holder_id IS NULL AND state.head_id IS NULL
            ),
            ids || array_agg(head.head_id),
            priorities || array_agg(head.priority),
            locks || array_agg(head.lock),
            parked OR EXISTS (SELECT FROM at_limit)
        INTO settled, ids, priorities, locks, parked
        FROM head;

        EXIT WHEN cardinality(ids) >= max_jobs OR cardinality(new_gates) < max_jobs << round;
    END LOOP;

    heads := cardinality(ids);
    places := array_fill(1, ARRAY[heads]);

    IF heads BETWEEN 1 AND max_jobs - 1 AND run_length > 1 THEN
        SELECT
            ids || array_agg(next.id),
            priorities || array_agg(next.priority),
            locks || array_agg(named.lock),
            places || array_agg(next.place::integer)
        INTO ids, priorities, locks, places
        FROM unnest(locks) AS named (lock)
        CROSS JOIN LATERAL (
            SELECT
                numbered.id,
                numbered.priority,
                numbered.place,
                -- What may have killed a worker runs alone.
                bool_and(
                    numbered.due AND numbered.queue_name = ANY(queue_names)
                    AND numbered.limit_key IS NULL AND numbered.task_name <> ALL(paused_tasks)
                    AND (numbered.crashes = 0 OR numbered.place = 1)
                ) OVER (ORDER BY numbered.place) AS follows
            FROM (
                SELECT
                    job.id,
                    job.priority,
                    job.due AND job.paused IS NULL AS due,
                    job.queue_name,
                    job.limit_key,
                    job.task_name,
                    job.crashes,
                    row_number() OVER (ORDER BY job.priority DESC, job.id) AS place
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.lock = named.lock
                ORDER BY job.lock, job.priority DESC, job.id
                LIMIT least(run_length, 1 + max_jobs / heads)
            ) AS numbered
        ) AS next
        WHERE next.follows AND next.place > 1;
    END IF;
END;
$$;

COMMENT ON FUNCTION taskq_lock_runs(text [], integer, integer, text []) IS
    'The jobs that a claim may take of locks with open gates in some queues, side by side: those of one lock have '
    'places from 1 on. With the gates that it has come to, which lock each is of, and the locks whose gates are to go; '
    'parked: a job went on to wait for a limit.';


-- The rows are locked here, in no order: what another transaction has is passed over.
CREATE FUNCTION taskq_take_gated_jobs(
    wanted bigint [],
    ids bigint [],
    locks text [],
    places integer [],
    limit_keys text [],
    queue_names text [],
    paused_tasks text [],
    OUT taken bigint [],
    OUT settled text []
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    parked_locks text [];
    stale_locks text [];
BEGIN
    -- Of each lock as far as none in between is held by another transaction, which may be about to change it. A job
    -- that has waited at a limit may not be the first of its lock any more.
    WITH held AS MATERIALIZED (
        SELECT
            job.id,
            job.lock,
            job.limit_key
        FROM taskq_jobs AS job
        WHERE
            job.id = ANY(wanted) AND job.status = 'todo' AND job.due AND job.paused IS NULL
            AND job.queue_name = ANY(queue_names) AND job.task_name <> ALL(paused_tasks)
            AND (job.expires_at IS NULL OR job.expires_at > now())
        FOR UPDATE SKIP LOCKED
    ),

    run AS MATERIALIZED (
        SELECT
            candidate.*,
            candidate.lock IS NOT NULL AND candidate.limit_key IS NOT NULL AS is_parked
        FROM unnest(ids, locks, places, limit_keys) AS candidate (id, lock, place, limit_key)
        WHERE candidate.id IN (SELECT unnest(wanted))
    ),

    taken AS MATERIALIZED (
        SELECT
            numbered.id,
            numbered.lock,
            numbered.is_parked
        FROM (
            SELECT
                run.*,
                row_number() OVER (PARTITION BY run.lock ORDER BY run.place) AS number
            FROM run
            INNER JOIN held
                ON
                    run.id = held.id AND run.lock IS NOT DISTINCT FROM held.lock
                    AND run.limit_key IS NOT DISTINCT FROM held.limit_key
        ) AS numbered
        WHERE
            CASE
                WHEN numbered.is_parked
                    THEN
                        numbered.id = (SELECT head.id FROM taskq_lock_head(numbered.lock) AS head)
                        AND NOT EXISTS (SELECT FROM taskq_lock_holder(numbered.lock) AS holder)
                ELSE numbered.lock IS NULL OR numbered.place = numbered.number
            END
    )

    SELECT
        ARRAY(SELECT taken.id FROM taken),
        ARRAY(SELECT taken.lock FROM taken WHERE taken.lock IS NOT NULL AND NOT taken.is_parked),
        ARRAY(SELECT taken.lock FROM taken WHERE taken.is_parked),
        ARRAY(
            SELECT run.lock FROM run
            WHERE run.is_parked AND run.id NOT IN (SELECT taken.id FROM taken)
        )
    INTO taken, settled, parked_locks, stale_locks;

    IF parked_locks <> '{}' THEN
        DELETE FROM taskq_open_gates
        WHERE limit_key = ANY(limit_keys) AND lock = ANY(parked_locks);
    END IF;

    IF stale_locks <> '{}' THEN
        UPDATE taskq_open_gates
        SET limit_key = null
        WHERE limit_key = ANY(limit_keys) AND lock = ANY(stale_locks);
    END IF;
END;
$$;

COMMENT ON FUNCTION taskq_take_gated_jobs(bigint [], bigint [], text [], integer [], text [], text [], text []) IS
    'Locks the wanted ones of the jobs that a claim has come to by gates, as far as they are what they were; and the '
    'locks whose gates are to go. What waited at a limit and is not the first of its lock any more goes back there.';
