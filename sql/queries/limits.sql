-- name: DeclareLimits :many
-- Writes what an app says of its limits. Answers for each that is new, or has changed, what was said of it before, and
-- by whom. In the order of names, so that workers that start at once do not wait for one another in a circle.
WITH declared AS (
    SELECT
        given.limit_key::text AS limit_key,
        given.concurrency::integer AS concurrency,
        given.rate::integer AS rate,
        given.per::double precision AS per,
        given.burst::integer AS burst
    FROM jsonb_to_recordset(@limits::jsonb) AS given (
        limit_key text,
        concurrency integer,
        rate integer,
        per double precision,
        burst integer
    )
),

former AS (
    SELECT definition.*
    FROM taskq_limits AS definition
    INNER JOIN declared ON definition.limit_key = declared.limit_key
    WHERE NOT definition.by_operator
),

written AS (
    INSERT INTO taskq_limits (limit_key, by_operator, concurrency, rate, per, burst, declared_by)
    SELECT
        declared.limit_key,
        false AS by_operator,
        declared.concurrency,
        declared.rate,
        declared.per,
        declared.burst,
        @declared_by::text AS declared_by
    FROM declared
    ORDER BY declared.limit_key
    ON CONFLICT (limit_key, by_operator) DO UPDATE
    SET
        concurrency = excluded.concurrency,
        rate = excluded.rate,
        per = excluded.per,
        burst = excluded.burst,
        declared_by = excluded.declared_by,
        declared_at = now()
    WHERE
        (taskq_limits.concurrency, taskq_limits.rate, taskq_limits.per, taskq_limits.burst)
        IS DISTINCT FROM (excluded.concurrency, excluded.rate, excluded.per, excluded.burst)
    RETURNING limit_key
)

SELECT
    written.limit_key,
    (former.limit_key IS NOT NULL)::boolean AS has_changed,
    former.concurrency,
    former.rate,
    former.per,
    former.burst,
    former.declared_by
FROM written
LEFT JOIN former ON written.limit_key = former.limit_key
ORDER BY written.limit_key;

-- name: DeclareQueueLimits :many
-- Likewise in which limits all jobs of a queue count.
WITH declared AS (
    SELECT
        given.queue_name::text AS queue_name,
        given.limit_key::text AS limit_key
    FROM jsonb_to_recordset(@queue_limits::jsonb) AS given (queue_name text, limit_key text)
),

former AS (
    SELECT definition.*
    FROM taskq_queue_limits AS definition
    INNER JOIN declared ON definition.queue_name = declared.queue_name
),

written AS (
    INSERT INTO taskq_queue_limits (queue_name, limit_key, declared_by)
    SELECT
        declared.queue_name,
        declared.limit_key,
        @declared_by::text AS declared_by
    FROM declared
    ORDER BY declared.queue_name
    ON CONFLICT (queue_name) DO UPDATE
    SET
        limit_key = excluded.limit_key,
        declared_by = excluded.declared_by,
        declared_at = now()
    WHERE taskq_queue_limits.limit_key <> excluded.limit_key
    RETURNING queue_name, limit_key
)

SELECT
    written.queue_name,
    written.limit_key,
    former.limit_key AS former_limit_key,
    former.declared_by
FROM written
LEFT JOIN former ON written.queue_name = former.queue_name
ORDER BY written.queue_name;

-- name: SetLimit :one
-- Writes an operator's definition of a limit, or of one key of it, if the limit is defined already; false: it is
-- not. A figure that is not given stays what it was.
WITH written AS (
    INSERT INTO taskq_limits (limit_key, by_operator, concurrency, rate, per, burst, declared_by)
    SELECT
        @limit_key::text,
        true AS by_operator,
        sqlc.narg(concurrency)::integer,
        sqlc.narg(rate)::integer,
        sqlc.narg(per)::double precision,
        sqlc.narg(burst)::integer,
        sqlc.narg(declared_by)::text
    WHERE
        @is_known::boolean
        OR EXISTS (
            SELECT FROM taskq_limits AS definition
            WHERE definition.limit_key = split_part(@limit_key::text, ':', 1)
        )
    ON CONFLICT (limit_key, by_operator) DO UPDATE
    SET
        concurrency = coalesce(excluded.concurrency, taskq_limits.concurrency),
        rate = coalesce(excluded.rate, taskq_limits.rate),
        per = coalesce(excluded.per, taskq_limits.per),
        burst = coalesce(excluded.burst, taskq_limits.burst),
        declared_by = excluded.declared_by,
        declared_at = now()
    RETURNING limit_key
)

SELECT EXISTS (SELECT FROM written)::boolean AS done;

-- name: UnsetLimit :one
-- Takes back what an operator has said of a limit, or of one key of it; whether anything was.
WITH deleted AS (
    DELETE FROM taskq_limits
    WHERE limit_key = @limit_key::text AND by_operator
    RETURNING limit_key
)

SELECT EXISTS (SELECT FROM deleted)::boolean AS done;

-- name: UnsetQueueLimit :one
-- Has the jobs of a queue count in no limit but their own; answers in which they did.
DELETE FROM taskq_queue_limits
WHERE queue_name = @queue_name::text
RETURNING limit_key;

-- name: ListLimitNames :many
-- The limits that are defined.
SELECT DISTINCT split_part(definition.limit_key, ':', 1)::text AS name
FROM taskq_limits AS definition
ORDER BY name;

-- name: OpenLimits :one
-- Has claims look at each key of some limits for which jobs wait, and at the queues that count in them: what is said of
-- them has changed. In a transaction after that: else a claim that has not seen the change could look first.
WITH RECURSIVE key AS (
    SELECT
        named.name,
        named.name COLLATE "C" AS limit_key
    FROM unnest(@names::text []) AS named (name)
    UNION ALL
    SELECT
        key.name,
        taskq_next_limit_key(greatest(key.limit_key, key.name || ':' COLLATE "C")) COLLATE "C"
    FROM key
    WHERE key.limit_key = key.name OR key.limit_key < key.name || ';' COLLATE "C"
)

SELECT
    coalesce(
        taskq_open_limits(
            ARRAY(
                SELECT key.limit_key
                FROM key
                WHERE key.limit_key = key.name OR key.limit_key < key.name || ';' COLLATE "C"
            )
        ),
        0
    )::bigint AS queues;

-- name: ListLimits :many
-- What limits allow and how full they are: those that are defined, and each key that is in use, by
-- name and key. What is 0 or empty is not said, or not known. Where all jobs of a queue count in a limit, those of it
-- that are ready wait for the limit as well.
WITH RECURSIVE waiting_key AS (
    SELECT taskq_next_limit_key('') AS limit_key
    UNION ALL
    SELECT taskq_next_limit_key(waiting_key.limit_key)
    FROM waiting_key
    WHERE waiting_key.limit_key IS NOT NULL
),

key AS (
    SELECT definition.limit_key FROM taskq_limits AS definition
    UNION
    SELECT limited.limit_key FROM taskq_queue_limits AS limited
    UNION
    SELECT waiting_key.limit_key FROM waiting_key
    UNION
    SELECT job.limit_key FROM taskq_jobs AS job
    WHERE job.status = 'doing' AND job.limit_key IS NOT NULL
)

SELECT
    key.limit_key::text AS limit_key,
    coalesce(figures.concurrency, 0)::integer AS concurrency,
    coalesce(figures.rate, 0)::integer AS rate,
    coalesce(figures.per, 0)::double precision AS per,
    coalesce(figures.burst, 0)::integer AS burst,
    EXISTS (
        SELECT FROM taskq_limits AS definition WHERE definition.limit_key = key.limit_key AND definition.by_operator
    )::boolean AS by_operator,
    (figures.concurrency IS NOT NULL OR figures.rate IS NOT NULL)::boolean AS is_known,
    -- Of what goes before all else. Longer keys are greater than the names they begin with.
    coalesce(
        (
            SELECT coalesce(definition.declared_by, '')
            FROM taskq_limits AS definition
            WHERE definition.limit_key = ANY(ARRAY[key.limit_key, split_part(key.limit_key, ':', 1)])
            ORDER BY definition.limit_key DESC, definition.by_operator DESC
            LIMIT 1
        ),
        ''
    )::text AS declared_by,
    array(
        SELECT limited.queue_name
        FROM taskq_queue_limits AS limited
        WHERE limited.limit_key = key.limit_key
        ORDER BY limited.queue_name
    )::text [] AS queue_names,
    state.running::bigint AS running,
    state.room::bigint AS room,
    coalesce(extract(EPOCH FROM state.next_at), 0)::double precision AS next_at,
    (
        (
            SELECT count(*)
            FROM taskq_limited AS job
            WHERE job.limit_key = key.limit_key
        )
        + (SELECT count(DISTINCT gate.lock) FROM taskq_open_gates AS gate WHERE gate.limit_key = key.limit_key)
        + (
            SELECT count(*)
            FROM taskq_queue_limits AS limited
            INNER JOIN taskq_ready AS job ON limited.queue_name = job.queue_name
            WHERE limited.limit_key = key.limit_key
        )
    )::bigint AS waiting
FROM key
CROSS JOIN LATERAL taskq_limit_state(key.limit_key) AS state (running, room, next_at, pace)
LEFT JOIN LATERAL taskq_limit_figures(key.limit_key) AS figures (concurrency, rate, per, burst) ON true
WHERE
    key.limit_key IS NOT NULL
    AND (sqlc.narg(name)::text IS NULL OR split_part(key.limit_key, ':', 1) = sqlc.narg(name)::text)
ORDER BY key.limit_key
LIMIT @max_limits::integer;
