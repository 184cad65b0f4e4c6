-- How many jobs of a limit may start, and when claims decide about it: docs/gates.md.

-- Planned as a part of what calls it: one scan, which takes half the time of a join of three.
CREATE FUNCTION taskq_limit_figures(wanted text) RETURNS TABLE (
    concurrency integer, rate integer, per double precision, burst integer
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        coalesce(
            max(said.concurrency) FILTER (WHERE said.of_key),
            max(said.concurrency) FILTER (WHERE said.of_all),
            max(said.concurrency) FILTER (WHERE said.declared)
        ),
        coalesce(
            max(said.rate) FILTER (WHERE said.of_key),
            max(said.rate) FILTER (WHERE said.of_all),
            max(said.rate) FILTER (WHERE said.declared)
        ),
        coalesce(
            max(said.per) FILTER (WHERE said.of_key),
            max(said.per) FILTER (WHERE said.of_all),
            max(said.per) FILTER (WHERE said.declared)
        ),
        coalesce(
            max(said.burst) FILTER (WHERE said.of_key),
            max(said.burst) FILTER (WHERE said.of_all),
            max(said.burst) FILTER (WHERE said.declared)
        )
    FROM (
        SELECT
            definition.*,
            definition.by_operator AND definition.limit_key = wanted AS of_key,
            definition.by_operator AND definition.limit_key <> wanted AS of_all,
            NOT definition.by_operator AS declared
        FROM taskq_limits AS definition
        WHERE definition.limit_key IN (wanted, split_part(wanted, ':', 1))
        OFFSET 0
    ) AS said
    HAVING count(*) > 0;
END;

COMMENT ON FUNCTION taskq_limit_figures(text) IS
    'What a limit allows one key, by the definition that goes before the others; no row: it is not defined.';


-- By the time of the transaction, which is also when the jobs that it claims start. In whole microseconds, and these
-- rounded up, so that a rate is never exceeded. A claim asks for hundreds of keys: what only a rate or the limit of a
-- queue needs is read only there, which halves the time.
CREATE FUNCTION taskq_limit_state(wanted text) RETURNS TABLE (
    running bigint, room bigint, next_at timestamptz, pace interval
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        held.running,
        CASE WHEN figures.burst IS NULL AND figures.concurrency IS NULL THEN 0 ELSE least(held.slots, spent.tokens) END,
        CASE WHEN held.slots > 0 AND spent.tokens = 0 THEN now() + spent.lead - (figures.burst - 1) * spent.pace END,
        spent.pace
    FROM (SELECT) AS always
    LEFT JOIN taskq_limit_figures(wanted) AS figures ON true
    CROSS JOIN LATERAL (
        SELECT
            counted.running,
            greatest(coalesce(figures.concurrency - counted.running, 2147483647), 0) AS slots
        FROM (
            SELECT
                (
                    SELECT count(*) FROM taskq_jobs AS job
                    WHERE job.status BETWEEN 'doing' AND 'doing' AND job.limit_key = wanted
                ) + CASE
                    WHEN EXISTS (SELECT FROM taskq_queue_limits)
                        THEN (
                            SELECT coalesce(sum(queue.running), 0)
                            FROM taskq_queue_limits AS limited
                            CROSS JOIN LATERAL (
                                SELECT count(*) AS running FROM taskq_jobs AS job
                                WHERE
                                    job.status = 'doing' AND job.queue_name = limited.queue_name
                                    AND job.limit_key IS DISTINCT FROM wanted
                            ) AS queue
                            WHERE limited.limit_key = wanted
                        )::bigint
                    ELSE 0
                END AS running
            -- Else it is counted again for each column that needs it.
            OFFSET 0
        ) AS counted
    ) AS held
    LEFT JOIN LATERAL (
        SELECT
            step.pace,
            ahead.lead,
            greatest(figures.burst - ceil(extract(EPOCH FROM ahead.lead) / extract(EPOCH FROM step.pace)), 0)::bigint
                AS tokens
        FROM (
            SELECT make_interval(secs => ceil(figures.per * 1000000 / figures.rate) / 1000000) AS pace
        ) AS step
        CROSS JOIN LATERAL (
            SELECT
                greatest(
                    coalesce(
                        (SELECT used.spent_until FROM taskq_limit_rates AS used WHERE used.limit_key = wanted),
                        now()
                    ) - coalesce(
                        (
                            SELECT sum(gate.tokens * greatest(gate.claimed_at + step.pace - now(), '0 seconds'))
                            FROM taskq_limit_gates AS gate
                            WHERE gate.limit_key = wanted AND gate.tokens IS NOT NULL
                        ),
                        '0 seconds'
                    ) - now(),
                    '0 seconds'
                ) AS lead
            OFFSET 0
        ) AS ahead
        WHERE figures.burst IS NOT NULL
        OFFSET 0
    ) AS spent ON true;
END;

COMMENT ON FUNCTION taskq_limit_state(text) IS
    'How many jobs that count in a limit run, how many more may start now, and if only its rate lets none: when the '
    'next one may; and how long its rate has one wait for the one before. With nothing '
    'said of the limit, none may start.';


CREATE FUNCTION taskq_is_full(wanted text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM taskq_limit_state(wanted) AS state WHERE state.room = 0);
END;

COMMENT ON FUNCTION taskq_is_full(text) IS 'Whether a limit has no room.';


-- Planned as a part of what calls it, as the next one is.
CREATE FUNCTION taskq_limit_head(wanted text, after_queue text) RETURNS TABLE (queue_name text, priority integer)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        first.queue_name,
        first.priority
    FROM (
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_limited AS job
            WHERE job.limit_key = wanted AND job.queue_name > after_queue
            ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                gate.queue_name,
                gate.priority
            FROM taskq_open_gates AS gate
            WHERE gate.limit_key = wanted AND gate.queue_name > after_queue
            ORDER BY gate.limit_key, gate.queue_name, gate.priority DESC, gate.job_id
            LIMIT 1
        )
    ) AS first
    ORDER BY first.queue_name, first.priority DESC
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_limit_head(text, text) IS
    'The next queue after a name, by bytes, in which jobs wait for a limit alone, and the highest priority of them.';


-- Planned as a part of what calls it.
CREATE FUNCTION taskq_limit_places(limit_keys text []) RETURNS TABLE (
    limit_key text, queue_name text, priority integer
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH RECURSIVE waiting AS (
        SELECT
            named.limit_key,
            first.queue_name,
            first.priority
        FROM (SELECT DISTINCT unnest(limit_keys) COLLATE "C" AS limit_key) AS named
        CROSS JOIN LATERAL taskq_limit_head(named.limit_key, '') AS first
        UNION ALL
        SELECT
            waiting.limit_key,
            next.queue_name,
            next.priority
        FROM waiting
        CROSS JOIN LATERAL taskq_limit_head(waiting.limit_key, waiting.queue_name) AS next
    )

    SELECT
        waiting.limit_key,
        waiting.queue_name,
        waiting.priority
    FROM waiting;
END;

COMMENT ON FUNCTION taskq_limit_places(text []) IS
    'Of each limit the queues in which jobs wait for it alone, and the highest priority of them.';


CREATE FUNCTION taskq_next_limit_key(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        least(
            (
                SELECT job.limit_key
                FROM taskq_limited AS job
                WHERE job.limit_key > after
                ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
                LIMIT 1
            ),
            (
                SELECT gate.limit_key
                FROM taskq_open_gates AS gate
                WHERE gate.limit_key > after
                ORDER BY gate.limit_key, gate.queue_name, gate.priority DESC, gate.job_id
                LIMIT 1
            )
        );
END;

COMMENT ON FUNCTION taskq_next_limit_key(text) IS
    'The next limit after a key, by bytes, for which jobs wait; null: none.';


CREATE FUNCTION taskq_turn() RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint;
END;

COMMENT ON FUNCTION taskq_turn() IS 'The next turn of a limit, behind those that have one.';


-- As taskq_open_locks, for the limits for which a job has come to wait: a statement of its own, with a snapshot of its
-- own. The end of a job brings a gate of its limit whether any waits or not: of several that end and are deferred at
-- once, none sees all the others.
CREATE FUNCTION taskq_open_limits(limit_keys text [], notify boolean DEFAULT true) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH waiting AS MATERIALIZED (
        SELECT place.* FROM taskq_limit_places(limit_keys) AS place
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key)
        SELECT
            waiting.queue_name,
            waiting.priority,
            taskq_turn(),
            waiting.limit_key
        FROM waiting
    ),

    notified AS (
        SELECT taskq_notify(queue.name)
        FROM (
            SELECT waiting.queue_name AS name FROM waiting
            UNION
            SELECT limited.queue_name FROM taskq_queue_limits AS limited
            WHERE limited.limit_key = ANY(limit_keys)
        ) AS queue
        WHERE notify
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_open_limits(text [], boolean) IS
    'Has the next claim decide about these limits, if jobs wait for them. To be called in the transaction that has a '
    'job wait for one, after the change.';


-- A job with a lock waits for that first: its limit is opened by the claim that finds it at the head.
CREATE FUNCTION taskq_open_for_jobs(locks text [], limit_keys text [], notify boolean DEFAULT true) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT
        coalesce(
            (
                SELECT taskq_open_locks(array_agg(job.lock), notify)
                FROM unnest(locks) AS job (lock)
                WHERE job.lock IS NOT NULL
                HAVING count(*) > 0
            ),
            0
        ) + coalesce(
            (
                SELECT taskq_open_limits(array_agg(job.limit_key), notify)
                FROM unnest(locks, limit_keys) AS job (lock, limit_key)
                WHERE job.lock IS NULL AND job.limit_key IS NOT NULL
                HAVING count(*) > 0
            ),
            0
        );
END;

COMMENT ON FUNCTION taskq_open_for_jobs(text [], text [], boolean) IS
    'Has the next claim decide about jobs that wait now, whose locks and limits are given side by side: in the '
    'transaction that has them wait, after the change.';


-- Side by side: the limit, the queue and the priority of each job that has ended, and if it never began, when it was
-- claimed. The limit of its queue has room again as well. Whether any job waits for them is for claims to see.
--
-- A start that did not begin is given back only as far as its time, of one pace, is not over: for the rest of it, the
-- rate would have let the next ones start no earlier without it.
CREATE FUNCTION taskq_free_limits(
    limit_keys text [], queue_names text [], priorities integer [], unstarted timestamptz []
) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH gone AS MATERIALIZED (
        SELECT
            job.limit_key,
            job.queue_name,
            job.priority,
            job.unstarted
        FROM unnest(limit_keys, queue_names, priorities, unstarted)
            AS job (limit_key, queue_name, priority, unstarted)
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key, tokens, claimed_at)
        SELECT
            freed.queue_name COLLATE "C",
            max(freed.priority),
            taskq_turn(),
            freed.limit_key COLLATE "C",
            nullif(count(freed.unstarted), 0),
            min(freed.unstarted) FILTER (WHERE isfinite(freed.unstarted))
        FROM (
            SELECT gone.* FROM gone
            WHERE gone.limit_key IS NOT NULL
            UNION ALL
            SELECT
                limited.limit_key,
                gone.queue_name,
                gone.priority,
                gone.unstarted
            FROM taskq_queue_limits AS limited
            INNER JOIN gone ON limited.queue_name = gone.queue_name
            WHERE gone.limit_key IS DISTINCT FROM limited.limit_key
        ) AS freed
        -- By bytes: three times as fast.
        GROUP BY freed.queue_name COLLATE "C", freed.limit_key COLLATE "C"
    ),

    -- No gate tells of what waits for the limit of a queue.
    notified AS (
        SELECT taskq_notify(counted.queue_name)
        FROM gone
        INNER JOIN taskq_queue_limits AS limited ON gone.queue_name = limited.queue_name
        INNER JOIN taskq_queue_limits AS counted ON limited.limit_key = counted.limit_key
        GROUP BY counted.queue_name
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_free_limits(text [], text [], integer [], timestamptz []) IS
    'Leaves a gate for each limit in which jobs have ended: in the transaction that ends them.';
