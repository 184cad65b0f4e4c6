-- How jobs are deferred, by taskq and by SQL.

-- Planned as a part of the query that calls it. A function in FROM gives its rows in the order of the array.
CREATE FUNCTION taskq_new_jobs(jobs jsonb, called_at timestamptz) RETURNS TABLE (
    task_name text,
    args jsonb,
    queue_name text,
    priority integer,
    lock text,
    queueing_lock text,
    idempotency_key text,
    limit_key text,
    scheduled_at timestamptz,
    due boolean,
    metadata jsonb,
    tags text [],
    awaited boolean,
    expires_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        job.task_name,
        coalesce(job.args, '{}'),
        coalesce(job.queue_name, 'default'),
        coalesce(job.priority, 0),
        job.lock,
        job.queueing_lock,
        job.idempotency_key,
        job."limit" || coalesce(':' || job.limit_key, ''),
        coalesce(job.scheduled_at, called_at + make_interval(secs => job.schedule_in)),
        coalesce(
            coalesce(job.scheduled_at, called_at + make_interval(secs => job.schedule_in)) <= called_at,
            true
        ),
        job.metadata,
        job.tags,
        nullif(job.awaited, false),
        coalesce(job.expire_at, called_at + make_interval(secs => job.expire_in))
    FROM jsonb_to_recordset(jobs) AS job (
        task_name text,
        args jsonb,
        queue_name text,
        priority integer,
        lock text,
        queueing_lock text,
        idempotency_key text,
        "limit" text,
        limit_key text,
        scheduled_at timestamptz,
        schedule_in double precision,
        metadata jsonb,
        tags text [],
        awaited boolean,
        expire_at timestamptz,
        expire_in double precision
    );
END;

COMMENT ON FUNCTION taskq_new_jobs(jsonb, timestamptz) IS
    'The jobs of an array as taskq_defer_jobs writes them: what a column of a new job gets is said here.';


-- plpgsql binds late, hence SET search_path: a trigger that calls this by its qualified name, from
-- a session that does not know taskq, must reach the same tables.
CREATE FUNCTION taskq_defer_jobs(
    jobs jsonb,
    on_conflict text DEFAULT 'raise',
    share_notification boolean DEFAULT false,
    numbers_checked boolean DEFAULT false
)
RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    faulty boolean;
    wrong record;
    waiting record;
    only_job jsonb;
    is_plain boolean;
    has_expiry boolean := false;
    new record;
    new_id bigint;
    -- Whether a job may meet another one, and whether one is refused for that.
    may_conflict boolean;
    conflicts boolean;
    place integer := 0;
    made bigint [] := '{}';
    made_jobs jsonb [] := '{}';
    new_queue text;
    new_time timestamptz;
    new_due boolean;
    -- Waits count from the call. now() is when the transaction began, which may be long ago.
    called_at CONSTANT timestamptz := clock_timestamp();
    known_keys CONSTANT text [] := ARRAY[
        'task_name', 'args', 'queue_name', 'priority', 'lock', 'queueing_lock', 'idempotency_key', 'limit',
        'limit_key', 'scheduled_at', 'schedule_in', 'metadata', 'tags', 'awaited', 'expire_at', 'expire_in'
    ];
    -- Of a job, or of any in an array. A hundred years are as long as a wait may be; one that is over is none.
    wrong_wait CONSTANT jsonpath := jsonpath '$[*] ? (
        @.schedule_in.type() != "null" && !(
            @.schedule_in.type() == "number" && @.schedule_in >= -3153600000 && @.schedule_in <= 3153600000
            && !(@.scheduled_at.type() != "null")
        )
    )';
BEGIN
    IF on_conflict IS NULL OR on_conflict NOT IN ('raise', 'skip', 'replace') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskq_defer_jobs: on_conflict is %L', on_conflict),
            HINT = 'It is ''raise'', ''skip'' or ''replace'': what to do with a job whose queueing lock a job '
                'that waits already has.';
    END IF;

    IF jobs IS NULL OR jsonb_typeof(jobs) <> 'array' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'taskq_defer_jobs takes a JSON array of jobs, not %s',
                coalesce(jsonb_typeof(jobs), 'null')
            ),
            HINT = 'Wrap a single job: ''[{"task_name": "...", "args": {...}}]''.';
    END IF;

    IF getdatabaseencoding() <> 'UTF8' THEN
        -- What UTF8 lacks no worker can read, in a row or in a notification: this refuses it.
        PERFORM convert_to(jobs::text, 'UTF8');
    END IF;

    -- A job by itself, as most calls have: expressions take two thirds of the time of the queries below,
    -- which also say what is wrong with it, or who waits already. The server's processor time for a call of one
    -- job, PostgreSQL 15: 138 us by the queries and 117 by these expressions; 110 if they had an INSERT of
    -- their own, in which every new column would have to be as well.
    only_job := jobs -> 0;
    is_plain := jsonb_array_length(jobs) = 1
        AND jsonb_typeof(only_job) = 'object'
        AND jsonb_typeof(only_job -> 'task_name') = 'string'
        AND only_job - known_keys = '{}'
        AND NOT only_job ?| ARRAY[
            'queueing_lock', 'idempotency_key', 'limit', 'limit_key', 'metadata', 'tags', 'expire_at', 'expire_in'
        ]
        AND NOT (only_job ? 'schedule_in' AND jsonb_path_exists(only_job, wrong_wait))
        AND NOT jsonb_path_exists(only_job, 'strict $.**{202}')
        -- Without a number of more than 4,300 digits, which takes as many characters.
        AND (numbers_checked OR octet_length(jobs::text) <= 4300);

    IF NOT is_plain THEN
        -- jsonb_to_recordset passes over what it does not know: a misspelt key would be lost in silence. What
        -- these find wrong, the query below explains. Keys by a path ($[*].keyvalue()) cost three times as much.
        faulty := jsonb_path_exists(
            jobs,
            '$[*] ? (@.type() != "object" || !(@.task_name.type() == "string"))'
        )
        OR (jsonb_path_exists(jobs, '$[*].schedule_in') AND jsonb_path_exists(jobs, wrong_wait));

        IF NOT faulty THEN
            faulty := EXISTS (
                SELECT
                FROM jsonb_array_elements(jobs) AS element (job)
                WHERE
                    element.job - known_keys <> '{}'
                    -- No worker can read it. The length as text says where to look, as each look costs more; but it
                    -- makes a batch 5 % slower as well, and so taskq's own calls have looked themselves.
                    OR (
                        NOT numbers_checked
                        AND octet_length(element.job::text) > 4300
                        AND jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                    )
            )
            -- Nor this.
            OR jsonb_path_exists(jobs, 'strict $.**{203}');
        END IF;

        IF faulty THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN jsonb_typeof(element.job) <> 'object'
                        THEN format('is not a JSON object but a %s', jsonb_typeof(element.job))
                    WHEN jsonb_typeof(element.job -> 'task_name') IS DISTINCT FROM 'string'
                        THEN 'has no task_name, or one that is not a string'
                    WHEN jsonb_path_exists(element.job, 'strict $.**{202}')
                        THEN format(
                            'has %s that are nested more than 201 deep',
                            CASE
                                WHEN jsonb_path_exists(element.job -> 'metadata', 'strict $.**{201}') THEN 'metadata'
                                ELSE 'args'
                            END
                        )
                    WHEN jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                        THEN 'has a number of more than 4,300 digits, which Python does not read'
                    WHEN element.job - known_keys <> '{}'
                        THEN (
                            SELECT format('has the unknown key %s', to_json(key))
                            FROM jsonb_object_keys(element.job - known_keys) AS key
                            LIMIT 1
                        )
                    WHEN element.job ->> 'scheduled_at' IS NOT NULL
                        THEN 'has both scheduled_at and schedule_in'
                    ELSE format(
                        'has schedule_in %s, which is no number of seconds, or more than a hundred years',
                        left(element.job ->> 'schedule_in', 100)
                    )
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            WHERE
                CASE
                    WHEN jsonb_typeof(element.job) <> 'object' THEN true
                    ELSE
                        jsonb_typeof(element.job -> 'task_name') IS DISTINCT FROM 'string'
                        OR element.job - known_keys <> '{}'
                        OR jsonb_path_exists(element.job, wrong_wait)
                        OR jsonb_path_exists(element.job, 'strict $.**{202}')
                        OR jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                END
            ORDER BY element.ordinality
            LIMIT 1;

            RAISE invalid_parameter_value USING
                MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, wrong.fault),
                HINT = 'A job has task_name, and may have args, queue_name, priority, lock, queueing_lock, '
                    'idempotency_key, limit and limit_key, scheduled_at or schedule_in, expire_at or expire_in, '
                    'metadata, tags and awaited.';
        END IF;

        IF jsonb_path_exists(jobs, '$[*] ? (@.limit != null || @.limit_key != null)') THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN element.job ->> 'limit' IS NULL THEN 'has a limit_key and no limit'
                    WHEN position(':' IN element.job ->> 'limit') > 0
                        THEN format('has the limit %s, with a colon', element.job -> 'limit')
                    ELSE format(
                        'has a limit, or a limit and a limit_key, of %s characters',
                        char_length(concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key'))
                    )
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            WHERE
                (element.job ->> 'limit' IS NULL AND element.job ->> 'limit_key' IS NOT NULL)
                OR element.job ->> 'limit' = ''
                OR position(':' IN element.job ->> 'limit') > 0
                OR char_length(concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key')) > 500
            ORDER BY element.ordinality
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, left(wrong.fault, 200)),
                    HINT = 'A limit has a name without a colon, as in tenant; with a limit_key, as in acme, both and '
                        'the colon between them have at most 500 characters.';
            END IF;
        END IF;

        has_expiry := jsonb_path_exists(jobs, '$[*] ? (@.expire_at != null || @.expire_in != null)');

        IF has_expiry THEN
            SELECT
                judged.index,
                judged.fault
            INTO wrong
            FROM (
                SELECT
                    element.ordinality - 1 AS index,
                    CASE
                        WHEN element.job ->> 'expire_at' IS NOT NULL AND element.job ->> 'expire_in' IS NOT NULL
                            THEN 'has both expire_at and expire_in'
                        WHEN
                            element.job ->> 'expire_in' IS NOT NULL
                            AND NOT jsonb_path_exists(
                                element.job,
                                '$.expire_in ? (@.type() == "number" && @ > 0 && @ <= 3153600000)'
                            )
                            THEN format(
                                'has expire_in %s, which is no number of seconds above 0, or more than a hundred years',
                                left(element.job ->> 'expire_in', 100)
                            )
                        WHEN
                            (element.job ->> 'expire_at')::timestamptz < '0002-01-01T00:00:00Z'
                            OR (element.job ->> 'expire_at')::timestamptz >= '9999-01-01T00:00:00Z'
                            THEN format(
                                'has expire_at %s, which is not in the years 2 to 9998', element.job ->> 'expire_at'
                            )
                        WHEN
                            coalesce(
                                (element.job ->> 'expire_at')::timestamptz,
                                called_at + make_interval(secs => (element.job ->> 'expire_in')::double precision)
                            ) <= coalesce(
                                (element.job ->> 'scheduled_at')::timestamptz,
                                called_at + make_interval(secs => (element.job ->> 'schedule_in')::double precision)
                            )
                            THEN format(
                                'expires (%s) before it may start (%s)',
                                coalesce(
                                    'expire_at ' || (element.job ->> 'expire_at'),
                                    'expire_in ' || (element.job ->> 'expire_in')
                                ),
                                coalesce(
                                    'scheduled_at ' || (element.job ->> 'scheduled_at'),
                                    'schedule_in ' || (element.job ->> 'schedule_in')
                                )
                            )
                    END AS fault
                FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            ) AS judged
            WHERE judged.fault IS NOT NULL
            ORDER BY judged.index
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, left(wrong.fault, 200)),
                    HINT = 'A job expires at expire_at, a timestamp with its offset from UTC, or expire_in '
                        'so many seconds from the call: after the time at which it may start.';
            END IF;
        END IF;

        IF jsonb_path_exists(jobs, '$[*] ? (exists(@.metadata) || exists(@.tags))') THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN jsonb_typeof(element.job -> 'metadata') NOT IN ('object', 'null')
                        THEN format('has metadata of type %s', jsonb_typeof(element.job -> 'metadata'))
                    WHEN jsonb_typeof(element.job -> 'tags') NOT IN ('array', 'null')
                        THEN format('has tags of type %s', jsonb_typeof(element.job -> 'tags'))
                    WHEN element.job -> 'tags' -> 100 IS NOT NULL
                        THEN 'has more than 100 tags'
                    ELSE format('has the tag %s, which is no string of 1 to 500 characters', left(odd.tag, 100))
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            LEFT JOIN LATERAL (
                SELECT tag.value::text AS tag
                FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(element.job -> 'tags') = 'array' THEN element.job -> 'tags' END
                ) AS tag (value)
                WHERE
                    jsonb_typeof(tag.value) <> 'string'
                    OR char_length(tag.value #>> '{}') NOT BETWEEN 1 AND 500
                LIMIT 1
            ) AS odd ON true
            WHERE
                jsonb_typeof(element.job -> 'metadata') NOT IN ('object', 'null')
                OR jsonb_typeof(element.job -> 'tags') NOT IN ('array', 'null')
                OR element.job -> 'tags' -> 100 IS NOT NULL
                OR odd.tag IS NOT NULL
            ORDER BY element.ordinality
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, wrong.fault),
                    HINT = 'The metadata of a job are an object, its tags an array of at most 100 strings.';
            END IF;

            -- Each tag once, where it came first.
            jobs := (
                SELECT
                    jsonb_agg(
                        CASE
                            WHEN element.job ->> 'tags' IS NULL THEN element.job
                            ELSE jsonb_set(element.job, '{tags}', coalesce(once.tags, 'null'))
                        END
                        ORDER BY element.ordinality
                    )
                FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
                CROSS JOIN LATERAL (
                    SELECT jsonb_agg(tag.value ORDER BY tag.first) AS tags
                    FROM (
                        SELECT
                            each.value,
                            min(each.ordinality) AS first
                        FROM jsonb_path_query(element.job, '$.tags[*]') WITH ORDINALITY AS each (value, ordinality)
                        GROUP BY each.value
                    ) AS tag
                ) AS once
            );
        END IF;
    END IF;

    IF on_conflict = 'replace' THEN
        SELECT element.ordinality - 1 AS index
        INTO wrong
        FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
        WHERE element.job ->> 'queueing_lock' IS NULL
        ORDER BY element.ordinality
        LIMIT 1;

        IF FOUND THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('taskq_defer_jobs: job %s of the array has no queueing_lock', wrong.index),
                HINT = 'By it on_conflict ''replace'' finds the job that waits.';
        END IF;
    END IF;

    may_conflict := NOT is_plain AND (
        jsonb_path_exists(jobs, '$[*] ? (@.idempotency_key != null)')
        OR (on_conflict <> 'raise' AND jsonb_path_exists(jobs, '$[*] ? (@.queueing_lock != null)'))
    );

    IF may_conflict THEN
        -- One after the other, as if each were a call of its own: of those in one array that conflict, the later
        -- one finds the earlier one.
        <<each_job>>
        FOR new IN SELECT * FROM taskq_new_jobs(jobs, called_at) LOOP
            IF char_length(new.idempotency_key) NOT BETWEEN 1 AND 500 THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format(
                        'taskq_defer_jobs: job %s of the array has an idempotency_key of %s characters',
                        place, char_length(new.idempotency_key)
                    ),
                    HINT = 'It has 1 to 500. For what is longer, take a hash of it.';
            END IF;

            -- Round again if one came in that a statement could not see: the next ones can.
            LOOP
                IF new.idempotency_key IS NOT NULL THEN
                    SELECT id
                    INTO new_id
                    FROM taskq_jobs
                    WHERE idempotency_key = new.idempotency_key;

                    EXIT WHEN FOUND;
                END IF;

                IF on_conflict = 'replace' THEN
                    -- It waits for a worker that claims the job in this moment, and then finds it no more. A
                    -- worker passes over the job while it is locked here, and then looks at it as it is by now.
                    IF new.idempotency_key IS NULL THEN
                        SELECT
                            id,
                            lock
                        INTO waiting
                        FROM taskq_jobs
                        WHERE status = 'todo' AND queueing_lock = new.queueing_lock
                        FOR UPDATE;
                    ELSE
                        BEGIN
                            -- Not one that came to have the key since the statement before.
                            UPDATE taskq_jobs
                            SET idempotency_key = new.idempotency_key
                            WHERE
                                status = 'todo' AND queueing_lock = new.queueing_lock
                                AND idempotency_key IS DISTINCT FROM new.idempotency_key
                            RETURNING id, lock INTO waiting;
                        EXCEPTION
                            -- Another one came to have it. Where snapshots are kept, that is not to be seen.
                            WHEN unique_violation THEN
                                IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                                    RAISE serialization_failure USING
                                        MESSAGE = format(
                                            'another transaction has deferred a job with the idempotency key %L',
                                            new.idempotency_key
                                        );
                                END IF;

                                CONTINUE;
                        END;
                    END IF;

                    IF FOUND THEN
                        -- As if it were new, and waits from now on. Not its id, and not deferred_at, on whose order
                        -- retention relies; nor claim, which only grows; nor a key, if the new one has none.
                        UPDATE taskq_jobs
                        SET
                            task_name = new.task_name,
                            args = new.args,
                            queue_name = new.queue_name,
                            priority = new.priority,
                            lock = new.lock,
                            limit_key = new.limit_key,
                            paused = null,
                            scheduled_at = coalesce(new.scheduled_at, called_at),
                            due = new.due,
                            metadata = new.metadata,
                            tags = new.tags,
                            expires_at = new.expires_at,
                            worker_id = null,
                            started_at = null,
                            attempt = 0,
                            crashes = 0,
                            given_back = null,
                            progress = null
                        WHERE id = waiting.id;

                        -- It may have been the head of its lock, and not be any more.
                        IF waiting.lock IS NOT NULL THEN
                            PERFORM taskq_open_locks(ARRAY[waiting.lock]);
                        END IF;

                        new_id := waiting.id;
                        made := array_append(made, new_id);
                        made_jobs := array_append(made_jobs, jobs -> place);
                        EXIT;
                    END IF;
                ELSIF new.queueing_lock IS NOT NULL THEN
                    SELECT
                        id,
                        queueing_lock
                    INTO waiting
                    FROM taskq_jobs
                    WHERE status = 'todo' AND queueing_lock = new.queueing_lock;

                    IF FOUND THEN
                        IF new.idempotency_key IS NOT NULL THEN
                            -- It may have come since the statement before, with the key as well.
                            SELECT id
                            INTO new_id
                            FROM taskq_jobs
                            WHERE idempotency_key = new.idempotency_key;

                            EXIT WHEN FOUND;
                        END IF;

                        conflicts := true;
                        EXIT each_job WHEN on_conflict = 'raise';

                        new_id := null;
                        EXIT;
                    END IF;
                END IF;

                -- Only here: ON CONFLICT makes every insert write 48 bytes more WAL.
                INSERT INTO taskq_jobs (
                    task_name, args, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key,
                    scheduled_at, due, metadata, tags, awaited, expires_at
                )
                VALUES (
                    new.task_name, new.args, new.queue_name, new.priority, new.lock, new.queueing_lock,
                    new.idempotency_key, new.limit_key, new.scheduled_at, new.due, new.metadata, new.tags, new.awaited,
                    new.expires_at
                )
                ON CONFLICT DO NOTHING
                RETURNING id INTO new_id;

                IF FOUND THEN
                    made := array_append(made, new_id);
                    made_jobs := array_append(made_jobs, jobs -> place);
                    EXIT;
                END IF;
            END LOOP;

            RETURN NEXT new_id;
            place := place + 1;
        END LOOP;

        jobs := to_jsonb(made_jobs);
    ELSIF NOT is_plain AND jsonb_path_exists(jobs, '$[*].queueing_lock') THEN
        -- The unique index would refuse it, and cannot say who waits.
        SELECT
            job.id,
            job.queueing_lock
        INTO waiting
        FROM jsonb_array_elements(jobs) AS element (value)
        CROSS JOIN LATERAL (
            SELECT
                todo.id,
                todo.queueing_lock
            FROM taskq_jobs AS todo
            WHERE todo.status = 'todo' AND todo.queueing_lock = element.value ->> 'queueing_lock'
            LIMIT 1
        ) AS job
        LIMIT 1;

        conflicts := FOUND;
    END IF;

    IF conflicts AND on_conflict = 'raise' THEN
        -- Those of this call go with it.
        waiting.id := CASE WHEN waiting.id <> ALL(made) THEN waiting.id END;

        RAISE unique_violation USING
            MESSAGE = format(
                '%s waits already with the queueing lock %L',
                coalesce('job ' || waiting.id, 'another job of the array'), waiting.queueing_lock
            ),
            DETAIL = json_build_object('job_id', waiting.id, 'queueing_lock', waiting.queueing_lock),
            CONSTRAINT = 'taskq_jobs_queueing_lock';
    END IF;

    IF NOT may_conflict THEN
        -- The ids, and so the defer order, follow the array.
        RETURN QUERY
        INSERT INTO taskq_jobs (
            task_name, args, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key, scheduled_at,
            due, metadata, tags, awaited, expires_at
        )
        SELECT * FROM taskq_new_jobs(jobs, called_at)
        RETURNING taskq_jobs.id;
    END IF;

    IF is_plain THEN
        new_queue := coalesce(only_job ->> 'queue_name', 'default');
        new_time := (only_job ->> 'scheduled_at')::timestamptz;

        IF only_job ? 'schedule_in' THEN
            new_time := coalesce(
                new_time, called_at + make_interval(secs => (only_job ->> 'schedule_in')::double precision)
            );
        END IF;

        new_due := coalesce(new_time <= called_at, true);

        IF new_due AND only_job ->> 'lock' IS NOT NULL THEN
            PERFORM taskq_open_locks(ARRAY[only_job ->> 'lock'], false);
        END IF;

        IF
            NOT (share_notification AND new_due)
            OR pg_try_advisory_xact_lock(hashtextextended(taskq_channel() || ' ' || new_queue, 0))
        THEN
            PERFORM taskq_notify(new_queue, new_due, new_time);
        END IF;

        RETURN;
    END IF;

    IF jsonb_path_exists(jobs, '$[*] ? (@.lock != null || @.limit != null)') THEN
        PERFORM taskq_open_for_jobs(
            array_agg(element.job ->> 'lock'),
            array_agg(
                CASE
                    WHEN element.job ->> 'limit' IS NOT NULL
                        THEN concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key')
                END
            ),
            false
        )
        FROM jsonb_array_elements(jobs) AS element (job);
    END IF;

    IF has_expiry THEN
        -- Idle workers are to know when to end them.
        PERFORM taskq_notify(expiring.name, false, expiring.at)
        FROM (
            SELECT
                coalesce(element.job ->> 'queue_name', 'default') AS name,
                min(
                    coalesce(
                        (element.job ->> 'expire_at')::timestamptz,
                        called_at + make_interval(secs => (element.job ->> 'expire_in')::double precision)
                    )
                ) AS at
            FROM jsonb_array_elements(jobs) AS element (job)
            GROUP BY coalesce(element.job ->> 'queue_name', 'default')
        ) AS expiring
        WHERE expiring.at IS NOT NULL;
    END IF;

    -- One notification per queue, whatever the number of jobs; two if some are for later. They leave
    -- with the commit, and those of one transaction that are alike leave once.
    PERFORM taskq_notify(queue.name, queue.due, queue.scheduled_at)
    FROM (
        SELECT
            job.name,
            coalesce(job.scheduled_at <= called_at, true) AS due,
            min(job.scheduled_at) AS scheduled_at
        FROM (
            SELECT
                coalesce(element.job ->> 'queue_name', 'default') AS name,
                coalesce(
                    (element.job ->> 'scheduled_at')::timestamptz,
                    called_at + make_interval(secs => (element.job ->> 'schedule_in')::double precision)
                ) AS scheduled_at
            FROM jsonb_array_elements(jobs) AS element (job)
        ) AS job
        GROUP BY job.name, coalesce(job.scheduled_at <= called_at, true)
    ) AS queue
    -- PostgreSQL lets transactions that notify commit only one after the other. Twenty clients that
    -- defer one job at a time: 2,023 jobs/s if each notifies, 4,935 if one does for all, 4,940 if none
    -- does (`python -m benchmarks --only storm`, PostgreSQL 18, medians of one run on two busy cores).
    -- Of those that run at once one notifies for all; a worker that is notified checks again until all
    -- that ran then have ended. Only for calls that are a transaction of their own: one that stays open for
    -- long would silence the others.
    WHERE
        CASE
            WHEN share_notification AND queue.due
                THEN
                    pg_try_advisory_xact_lock(
                        hashtextextended(taskq_channel() || ' ' || queue.name, 0)
                    )
            ELSE true
        END;
END;
$$;

COMMENT ON FUNCTION taskq_defer_jobs(jsonb, text, boolean, boolean) IS
    'Defers the jobs of a JSON array, all or none, and returns their ids in the order of the array; '
    'with on_conflict ''skip'' null in the place of a job whose queueing lock is taken, and with ''replace'' the '
    'id of the job that waits with it, which becomes the new one. '
    'With share_notification, of calls that run at once one notifies for all: only for a call that is a '
    'transaction of its own. With numbers_checked no number is looked at: the caller knows that none has '
    'more than 4,300 digits. '
    'A job with an idempotency_key that a job has is not deferred, and has that one''s id in its place. '
    'Keys of a job: task_name, and optionally args, queue_name, priority, lock, queueing_lock, idempotency_key, '
    'limit (the name of one) and limit_key (a room of its own in it), scheduled_at (with an offset from UTC) or '
    'schedule_in (seconds from the call, by the server''s clock), expire_at or expire_in (likewise: by when it is to '
    'begin), metadata (an object), tags (strings) and awaited (a '
    'boolean: whether its end is notified).';
