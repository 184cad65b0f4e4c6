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
-- Defers a job for each subscriber: jobs are those that the caller knows, checked, and as defer middleware has left
-- them; args and metadata are for all others. Who subscribes, and what each is given, taskq_publish says for all who
-- publish.
SELECT
    published.id::bigint AS id,
    published.task_name::text AS task_name
FROM taskq_publish(
    @event::text,
    @args::jsonb,
    @metadata::jsonb,
    @jobs::jsonb,
    @known_names::text [],
    @key_texts::jsonb,
    @share_notification::boolean,
    @numbers_checked::boolean
) AS published (id, task_name);

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
