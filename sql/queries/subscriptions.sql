-- name: DeclareSubscriptions :many
-- A worker names the subscriptions of its app when it starts. What is as it was is not written; what has been declared
-- by an alias of the task goes, as the task was renamed and would get two jobs. In order, so that workers that start
-- together do not deadlock.
WITH declared AS (
    SELECT
        given.event::text AS event,
        given.task_name::text AS task_name,
        given.aliases::jsonb AS aliases,
        given.queue_name::text AS queue_name,
        given.options::jsonb AS options,
        given.limit_by::jsonb AS limit_by
    FROM jsonb_to_recordset(@subscriptions::jsonb) AS given (
        event text,
        task_name text,
        aliases jsonb,
        queue_name text,
        options jsonb,
        limit_by jsonb
    )
),

renamed AS (
    SELECT
        former.event,
        former.task_name
    FROM declared
    INNER JOIN taskq_subscriptions AS former ON declared.event = former.event
    WHERE declared.aliases @> to_jsonb(former.task_name)
    ORDER BY former.event, former.task_name
    FOR UPDATE OF former
),

forgotten AS (
    DELETE FROM taskq_subscriptions AS former
    USING renamed
    WHERE former.event = renamed.event AND former.task_name = renamed.task_name
)

INSERT INTO taskq_subscriptions AS subscription (event, task_name, queue_name, options, limit_by, declared_by)
SELECT
    declared.event,
    declared.task_name,
    declared.queue_name,
    declared.options,
    declared.limit_by,
    @declared_by::text AS declared_by
FROM declared
ORDER BY declared.event, declared.task_name
ON CONFLICT (event, task_name) DO UPDATE
SET
    queue_name = excluded.queue_name,
    options = excluded.options,
    limit_by = excluded.limit_by,
    declared_by = excluded.declared_by,
    declared_at = now()
WHERE
    (subscription.queue_name, subscription.options, subscription.limit_by)
    IS DISTINCT FROM (excluded.queue_name, excluded.options, excluded.limit_by)
RETURNING subscription.event, subscription.task_name;

-- name: PublishEvent :many
-- Defers a job for each subscriber, in the order of their tasks' names: jobs are those that the caller knows, complete;
-- args are for all others. 0 is in the place of a job that was skipped, as one with its queueing lock waits. Says of
-- each whether it is one that the caller knows.
--
-- Reads what is committed when it begins. A subscription that a worker declares at the same time may not be among them.
WITH wanted AS (
    SELECT
        (known.job ->> 'task_name') COLLATE "C" AS task_name,
        known.job,
        true AS is_known
    FROM jsonb_array_elements(@jobs::jsonb) AS known (job)
    UNION ALL
    SELECT
        subscription.task_name,
        subscription.options
        || jsonb_build_object(
            'task_name', subscription.task_name, 'queue_name', subscription.queue_name, 'args', @args::jsonb
        )
        || coalesce(limited.key, '{}') AS job,
        false AS is_known
    FROM taskq_subscriptions AS subscription
    -- As Limit.key_of makes it of the same texts. 92 is the backslash.
    LEFT JOIN LATERAL (
        SELECT
            jsonb_build_object(
                'limit_key',
                CASE
                    WHEN jsonb_array_length(subscription.limit_by) = 1 THEN min(part.text)
                    ELSE
                        string_agg(
                            replace(replace(part.text, chr(92), repeat(chr(92), 2)), ':', chr(92) || ':'),
                            ':' ORDER BY part.place
                        )
                END
            ) AS key
        FROM (
            SELECT
                by_value.place,
                coalesce(
                    @key_texts::jsonb ->> (by_value.part ->> 'argument'), by_value.part ->> 'default'
                ) AS text
            FROM jsonb_array_elements(subscription.limit_by) WITH ORDINALITY AS by_value (part, place)
        ) AS part
    ) AS limited ON subscription.limit_by IS NOT NULL
    WHERE subscription.event = @event::text AND subscription.task_name <> ALL(@known_names::text [])
),

placed AS (
    SELECT
        wanted.job,
        wanted.is_known,
        row_number() OVER (ORDER BY wanted.task_name) AS place
    FROM wanted
)

SELECT
    coalesce(deferred.id, 0)::bigint AS id,
    placed.is_known::boolean AS is_known
FROM taskq_defer_jobs(
    (SELECT coalesce(jsonb_agg(placed.job ORDER BY placed.place), '[]') FROM placed),
    'skip',
    @share_notification::boolean,
    @numbers_checked::boolean
) WITH ORDINALITY AS deferred (id, place)
INNER JOIN placed ON deferred.place = placed.place
ORDER BY deferred.place;

-- name: ListSubscriptions :many
SELECT
    subscription.event,
    subscription.task_name,
    subscription.queue_name,
    subscription.options,
    subscription.declared_by,
    subscription.declared_at
FROM taskq_subscriptions AS subscription
WHERE sqlc.narg(event)::text IS NULL OR subscription.event = sqlc.narg(event)::text
ORDER BY subscription.event, subscription.task_name;

-- name: RemoveSubscription :one
-- Ends a subscription; whether there was one.
WITH deleted AS (
    DELETE FROM taskq_subscriptions
    WHERE event = @event::text AND task_name = @task_name::text
    RETURNING event
)

SELECT EXISTS (SELECT FROM deleted)::boolean AS done;
