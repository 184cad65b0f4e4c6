-- How events are published, by taskq and by SQL.

CREATE FUNCTION taskq_key_text(value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN CASE jsonb_typeof(value)
        WHEN 'object' THEN (
            SELECT
                '{' || coalesce(
                    string_agg(
                        to_json(member.key) || ':' || CASE
                            WHEN jsonb_typeof(member.value) = 'string' THEN member.value::text
                            ELSE taskq_key_text(member.value)
                        END,
                        ',' ORDER BY member.key COLLATE "C"
                    ),
                    ''
                ) || '}'
            FROM jsonb_each(taskq_key_text.value) AS member (key, value)
        )
        WHEN 'array' THEN (
            SELECT
                '[' || coalesce(
                    string_agg(
                        CASE
                            WHEN jsonb_typeof(element.value) = 'string' THEN element.value::text
                            ELSE taskq_key_text(element.value)
                        END,
                        ',' ORDER BY element.ordinality
                    ),
                    ''
                ) || ']'
            FROM jsonb_array_elements(taskq_key_text.value) WITH ORDINALITY AS element (value, ordinality)
        )
        WHEN 'null' THEN 'null'
        ELSE value #>> '{}'
    END;
END;
$$;

COMMENT ON FUNCTION taskq_key_text(jsonb) IS
    'What the key of a limit has of the value of an argument: text as it is, anything else as JSON without spaces, '
    'with the keys of objects in order.';


-- Search path and rights as of taskq_defer_jobs.
CREATE FUNCTION taskq_publish(
    event text,
    args jsonb DEFAULT '{}',
    metadata jsonb DEFAULT '{}',
    known_jobs jsonb DEFAULT '[]',
    known_names text [] DEFAULT '{}',
    key_texts jsonb DEFAULT '{}',
    share_notification boolean DEFAULT false,
    numbers_checked boolean DEFAULT false
)
RETURNS TABLE (id bigint, task_name text)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
BEGIN
    -- Whether anyone subscribes or not: a mistake is not to be found out when the first one does.
    IF event IS NULL OR char_length(event) NOT BETWEEN 1 AND 500 THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskq_publish: no event is called %L', left(event, 100)),
            HINT = 'The name of an event has 1 to 500 characters.';
    END IF;

    IF args IS NULL OR jsonb_typeof(args) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'taskq_publish takes the arguments of event %L as a JSON object, not as %s',
                left(event, 100), coalesce(jsonb_typeof(args), 'null')
            ),
            HINT = 'Name them: taskq_publish(''order.paid'', ''{"order_id": 7}'').';
    END IF;

    IF metadata IS NULL OR jsonb_typeof(metadata) <> 'object' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'taskq_publish takes the metadata of event %L as a JSON object, not as %s',
                left(event, 100), coalesce(jsonb_typeof(metadata), 'null')
            ),
            HINT = 'Name them, or leave them out: taskq_publish(..., metadata => ''{"tenant": "acme"}'').';
    END IF;

    RETURN QUERY
    WITH wanted AS (
        SELECT
            (known.job ->> 'task_name') COLLATE "C" AS task_name,
            known.job
        FROM jsonb_array_elements(known_jobs) AS known (job)
        UNION ALL
        SELECT
            subscription.task_name,
            subscription.options
            || jsonb_build_object(
                'task_name', subscription.task_name, 'queue_name', subscription.queue_name, 'args', args,
                -- What the subscriber has declared holds, with the event's name in it.
                'metadata', metadata || coalesce(nullif(subscription.options -> 'metadata', 'null'), '{}')
            )
            || coalesce(limited.key, '{}')
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
                        key_texts ->> (by_value.part ->> 'argument'),
                        taskq_key_text(args -> (by_value.part ->> 'argument')),
                        by_value.part ->> 'default'
                    ) AS text
                FROM jsonb_array_elements(subscription.limit_by) WITH ORDINALITY AS by_value (part, place)
            ) AS part
        ) AS limited ON subscription.limit_by IS NOT NULL
        WHERE subscription.event = taskq_publish.event AND subscription.task_name <> ALL(known_names)
    ),

    placed AS (
        SELECT
            wanted.*,
            row_number() OVER (ORDER BY wanted.task_name) AS place
        FROM wanted
    )

    SELECT
        deferred.id,
        placed.task_name
    FROM taskq_defer_jobs(
        (SELECT coalesce(jsonb_agg(placed.job ORDER BY placed.place), '[]') FROM placed),
        'skip',
        share_notification,
        numbers_checked
    ) WITH ORDINALITY AS deferred (id, place)
    INNER JOIN placed ON deferred.place = placed.place
    WHERE deferred.id IS NOT NULL
    ORDER BY deferred.place;
END;
$$;

COMMENT ON FUNCTION taskq_publish(text, jsonb, jsonb, jsonb, text [], jsonb, boolean, boolean) IS
    'Publishes an event: defers a job for each task that subscribes to it, with these arguments, all or none, and '
    'returns their ids in the order of the tasks'' names, with these; no row for one whose queueing lock a '
    'job has that waits. It reads who subscribes when it begins. '
    'Each job is given the metadata, too, but for names of which its subscriber has metadata of its own. '
    'The rest is for a caller that knows subscribers itself: their jobs, complete, as taskq_defer_jobs takes them; the '
    'names of these tasks, which get no other job; and what keys of limits have of the arguments. '
    'share_notification and numbers_checked are as for taskq_defer_jobs.';
