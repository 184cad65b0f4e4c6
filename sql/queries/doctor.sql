-- name: ListSnapshots :many
-- The transactions that keep dead rows of this database from being removed, the oldest snapshot first:
-- those of its own sessions, and of standbys that are fed through no slot. What another user's session
-- says is hidden from roles that are no members of pg_read_all_stats: CanSeeSessions.
SELECT
    activity.pid::integer AS pid,
    coalesce(activity.usename::text, '')::text AS user_name,
    coalesce(activity.application_name, '')::text AS application_name,
    coalesce(activity.state, '')::text AS state,
    activity.backend_type::text AS backend_type,
    greatest(age(activity.backend_xmin), age(activity.backend_xid))::bigint AS transactions,
    extract(
        EPOCH FROM clock_timestamp() - coalesce(activity.xact_start, activity.backend_start)
    )::double precision AS seconds,
    coalesce(activity.query, '')::text AS statement
FROM pg_catalog.pg_stat_activity AS activity
WHERE
    (activity.backend_xmin IS NOT NULL OR activity.backend_xid IS NOT NULL)
    AND activity.pid <> pg_backend_pid()
    AND (
        (activity.datname = current_database() AND activity.backend_type = 'client backend')
        OR activity.backend_type = 'walsender'
    )
    AND coalesce(activity.xact_start, activity.backend_start)
    <= clock_timestamp() - make_interval(secs => @held_for::double precision)
ORDER BY transactions DESC;

-- name: CanSeeSessions :many
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')::boolean AS allowed;

-- name: ListPreparedTransactions :many
-- Transactions of this database that were prepared and have not ended.
SELECT
    prepared.gid::text AS gid,
    prepared.owner::text AS owner,
    age(prepared.transaction)::bigint AS transactions,
    extract(EPOCH FROM clock_timestamp() - prepared.prepared)::double precision AS seconds
FROM pg_catalog.pg_prepared_xacts AS prepared
WHERE
    prepared.database = current_database()
    AND prepared.prepared
    <= clock_timestamp() - make_interval(secs => @held_for::double precision)
ORDER BY transactions DESC;

-- name: ListReplicationSlots :many
-- The slots that keep dead rows from being removed, for a standby that may still need them. The
-- catalog_xmin of logical slots is none of them: it holds the system's own tables and no other.
SELECT
    slot.slot_name::text AS slot_name,
    slot.active::boolean AS active,
    age(slot.xmin)::bigint AS transactions
FROM pg_catalog.pg_replication_slots AS slot
WHERE slot.xmin IS NOT NULL
ORDER BY transactions DESC;

-- name: ListTables :many
-- taskq's tables: the rows that live and those that are dead, what autovacuum waits for and when it came,
-- how large they are, and how wide a row is. 0 for row_bytes: the table was never analyzed; below 0 for
-- vacuumed_seconds_ago: it was never vacuumed.
WITH tables AS (
    SELECT
        class.oid,
        namespace.nspname,
        class.relname,
        greatest(class.reltuples, 0) AS reltuples,
        coalesce(array_to_string(class.reloptions, ' '), '') AS options
    FROM pg_catalog.pg_class AS class
    INNER JOIN pg_catalog.pg_namespace AS namespace ON class.relnamespace = namespace.oid
    WHERE
        class.relkind = 'r'
        AND class.relname LIKE 'taskq!_%' ESCAPE '!'
        AND class.relnamespace = (
            SELECT jobs.relnamespace FROM pg_catalog.pg_class AS jobs WHERE jobs.oid = 'taskq_jobs'::regclass
        )
)

SELECT
    quote_ident(tables.relname)::text AS table_name,
    coalesce(stat.n_live_tup, 0)::bigint AS live_rows,
    coalesce(stat.n_dead_tup, 0)::bigint AS dead_rows,
    (
        coalesce(
            substring(tables.options FROM 'autovacuum_vacuum_threshold=([0-9]+)'),
            current_setting('autovacuum_vacuum_threshold')
        )::double precision
        + coalesce(
            substring(tables.options FROM 'autovacuum_vacuum_scale_factor=([0-9.eE-]+)'),
            current_setting('autovacuum_vacuum_scale_factor')
        )::double precision * tables.reltuples
    )::double precision AS vacuumed_from,
    (
        current_setting('autovacuum')::boolean AND current_setting('track_counts')::boolean
    )::boolean AS server_vacuums,
    coalesce(
        substring(tables.options FROM 'autovacuum_enabled=([a-zA-Z0-9]+)')::boolean, true
    )::boolean AS table_vacuums,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - greatest(stat.last_autovacuum, stat.last_vacuum)), -1
    )::double precision AS vacuumed_seconds_ago,
    pg_relation_size(tables.oid)::bigint AS bytes,
    coalesce(
        substring(tables.options FROM 'fillfactor=([0-9]+)')::integer, 100
    )::integer AS fillfactor,
    coalesce(
        (
            SELECT sum((1 - width.null_frac) * width.avg_width)
            FROM pg_catalog.pg_stats AS width
            WHERE width.schemaname = tables.nspname AND width.tablename = tables.relname
        ),
        0
    )::double precision AS row_bytes
FROM tables
LEFT JOIN pg_catalog.pg_stat_all_tables AS stat ON tables.oid = stat.relid
ORDER BY tables.relname;

-- name: ListIndexes :many
-- The indexes of taskq's tables, with what they hold and how large they are. Their entries are counted
-- by a vacuum or an analyze; below 0: there was none.
SELECT
    quote_ident(index_class.relname)::text AS index_name,
    quote_ident(table_class.relname)::text AS table_name,
    (pg_index.indisvalid AND pg_index.indisready)::boolean AS valid,
    index_class.reltuples::bigint AS entries,
    pg_relation_size(index_class.oid)::bigint AS bytes,
    coalesce(
        (
            SELECT sum((1 - width.null_frac) * width.avg_width)
            FROM pg_catalog.pg_attribute AS part
            INNER JOIN pg_catalog.pg_stats AS width ON part.attname = width.attname
            WHERE
                part.attrelid = index_class.oid
                AND width.schemaname = namespace.nspname
                AND width.tablename = table_class.relname
        ),
        0
    )::double precision AS key_bytes
FROM pg_catalog.pg_index
INNER JOIN pg_catalog.pg_class AS index_class ON pg_index.indexrelid = index_class.oid
INNER JOIN pg_catalog.pg_class AS table_class ON pg_index.indrelid = table_class.oid
INNER JOIN pg_catalog.pg_namespace AS namespace ON table_class.relnamespace = namespace.oid
WHERE
    table_class.relkind = 'r'
    AND table_class.relname LIKE 'taskq!_%' ESCAPE '!'
    AND table_class.relnamespace = (
        SELECT jobs.relnamespace FROM pg_catalog.pg_class AS jobs WHERE jobs.oid = 'taskq_jobs'::regclass
    )
ORDER BY index_class.relname;

-- name: GetNotificationQueue :many
-- How full the server's queue of notifications is, from 0 to 1, and the session that has been in one
-- transaction for longest: one that listens and does not end its transaction keeps all
-- notifications, of whatever database.
SELECT
    pg_notification_queue_usage()::double precision AS usage,
    coalesce(oldest.pid, 0)::integer AS pid,
    coalesce(oldest.datname::text, '')::text AS database_name,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - oldest.xact_start), 0
    )::double precision AS seconds,
    coalesce(oldest.query, '')::text AS statement
FROM (SELECT) AS always
LEFT JOIN (
    SELECT
        activity.pid,
        activity.datname,
        activity.xact_start,
        activity.query
    FROM pg_catalog.pg_stat_activity AS activity
    WHERE activity.backend_type = 'client backend' AND activity.pid <> pg_backend_pid()
    ORDER BY activity.xact_start
    LIMIT 1
) AS oldest ON true;

-- name: ListStalledWorkers :many
-- The workers that have not said for too long that they are alive, with the jobs that they have in hand;
-- and those that are gone altogether, and have some.
SELECT
    worker.id::bigint AS id,
    worker.name::text AS name,
    extract(
        EPOCH FROM clock_timestamp() - greatest(
            nullif(worker.last_heartbeat, 'infinity'), '0002-01-01T00:00:00Z'::timestamptz
        )
    )::double precision AS silent_seconds,
    (
        SELECT count(*) FROM taskq_jobs AS job
        WHERE job.status = 'doing' AND job.worker_id = worker.id
    )::bigint AS jobs
FROM taskq_workers AS worker
WHERE
    worker.last_heartbeat < now() - make_interval(secs => @stalled_after::double precision)
    OR worker.last_heartbeat = 'infinity'
UNION ALL
SELECT
    coalesce(job.worker_id, 0)::bigint AS id,
    ''::text AS name,
    extract(
        EPOCH FROM clock_timestamp() - greatest(
            max(job.started_at), '0002-01-01T00:00:00Z'::timestamptz
        )
    )::double precision AS silent_seconds,
    count(*)::bigint AS jobs
FROM taskq_jobs AS job
WHERE
    job.status = 'doing'
    AND job.started_at < now() - make_interval(secs => @stalled_after::double precision)
    AND NOT EXISTS (SELECT FROM taskq_workers AS worker WHERE worker.id = job.worker_id)
GROUP BY job.worker_id
ORDER BY jobs DESC, id;

-- name: ListWaitingQueues :many
-- The queues with jobs that wait and could run: how many, for how long the first of them has waited
-- since it was deferred, scheduled for, or last tried, how many workers that are alive serve it, and for how long
-- it has been paused; below 0: it is not.
WITH waiting AS (
    -- One branch for each of the indexes: with finished jobs beside them, the whole table is far larger.
    SELECT
        job.queue_name,
        greatest(job.deferred_at, job.scheduled_at, job.started_at) AS since
    FROM taskq_jobs AS job
    WHERE
        job.status = 'todo' AND job.due AND job.lock IS NULL
        AND job.limit_key IS NULL AND job.paused IS NULL
    UNION ALL
    SELECT
        job.queue_name,
        greatest(job.deferred_at, job.scheduled_at, job.started_at) AS since
    FROM taskq_jobs AS job
    WHERE
        job.status = 'todo' AND job.due AND job.lock IS NULL
        AND job.limit_key IS NOT NULL AND job.paused IS NULL
    UNION ALL
    SELECT
        job.queue_name,
        greatest(job.deferred_at, job.scheduled_at, job.started_at) AS since
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND job.due AND job.lock IS NOT NULL AND job.paused IS NULL
    UNION ALL
    SELECT
        job.queue_name,
        job.scheduled_at AS since
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND NOT job.due AND job.scheduled_at <= now()
)

SELECT
    waiting.queue_name::text AS queue_name,
    count(*)::bigint AS jobs,
    coalesce(
        extract(
            EPOCH FROM clock_timestamp() - min(waiting.since) FILTER (WHERE isfinite(waiting.since))
        ),
        0
    )::double precision AS seconds,
    (
        SELECT count(*) FROM taskq_workers AS worker
        WHERE
            worker.last_heartbeat
            >= now() - make_interval(secs => @stalled_after::double precision)
            AND (worker.queue_names IS NULL OR waiting.queue_name = ANY(worker.queue_names))
    )::bigint AS workers,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - min(pause.paused_at)), -1
    )::double precision AS paused_seconds,
    coalesce(min(pause.paused_by), '')::text AS paused_by,
    coalesce(min(pause.reason), '')::text AS pause_reason
FROM waiting
LEFT JOIN taskq_pauses AS pause ON waiting.queue_name = pause.name AND pause.kind = 'queue'
GROUP BY waiting.queue_name
ORDER BY waiting.queue_name;

-- name: ListLongChains :many
-- The locks behind which most jobs wait, with the job that holds the lock, or else with the one that is
-- first in line: if that one is scheduled for later, all of them wait for it.
WITH chains AS (
    SELECT
        job.lock,
        count(*) AS jobs
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND job.lock IS NOT NULL
    GROUP BY job.lock
    HAVING count(*) >= @min_jobs::bigint
    ORDER BY count(*) DESC
    LIMIT 20
)

SELECT
    chains.lock::text AS lock,
    chains.jobs::bigint AS jobs,
    holder.id AS holder_id,
    holder.task_name AS holder_task,
    coalesce(
        extract(
            EPOCH FROM clock_timestamp()
            - CASE WHEN isfinite(holder.started_at) THEN holder.started_at END
        ),
        0
    )::double precision AS holder_seconds,
    head.id AS head_id,
    coalesce(
        greatest(
            extract(
                EPOCH FROM CASE WHEN isfinite(head.scheduled_at) THEN head.scheduled_at END
                - clock_timestamp()
            ),
            0
        ),
        0
    )::double precision AS head_in_seconds
FROM chains
LEFT JOIN taskq_jobs AS holder ON holder.id = (
    SELECT job.id
    FROM taskq_jobs AS job
    WHERE job.status = 'doing' AND job.lock = chains.lock
    LIMIT 1
)
CROSS JOIN LATERAL (
    SELECT
        job.id,
        job.scheduled_at
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND job.lock = chains.lock
    ORDER BY job.lock, job.priority DESC, job.id
    LIMIT 1
) AS head
ORDER BY chains.jobs DESC, chains.lock;

-- name: ListWaitingTasks :many
-- The tasks whose jobs wait, now or for later, and for how long each has been paused; below 0: it is not.
WITH waiting AS (
    SELECT job.task_name FROM taskq_ready AS job
    UNION ALL
    SELECT job.task_name FROM taskq_jobs AS job
    WHERE
        job.status = 'todo'
        AND (NOT job.due OR job.lock IS NOT NULL OR job.limit_key IS NOT NULL OR job.paused)
)

SELECT
    waiting.task_name::text AS task_name,
    waiting.jobs::bigint AS jobs,
    coalesce(extract(EPOCH FROM clock_timestamp() - pause.paused_at), -1)::double precision AS paused_seconds,
    coalesce(pause.paused_by, '')::text AS paused_by,
    coalesce(pause.reason, '')::text AS pause_reason
FROM (
    SELECT
        waiting.task_name,
        count(*) AS jobs
    FROM waiting
    GROUP BY waiting.task_name
) AS waiting
LEFT JOIN taskq_pauses AS pause ON waiting.task_name = pause.name AND pause.kind = 'task'
ORDER BY waiting.task_name;

-- name: ListUnsaidLimits :many
-- The limits that are not declared, and for which jobs wait, or in which all jobs of a queue count: none of
-- these jobs starts. With a key of theirs, and how many wait for the limit alone; empty: it has none.
WITH RECURSIVE waiting_key AS (
    SELECT taskq_next_limit_key('') AS limit_key
    UNION ALL
    SELECT taskq_next_limit_key(waiting_key.limit_key)
    FROM waiting_key
    WHERE waiting_key.limit_key IS NOT NULL
),

unsaid AS (
    SELECT
        key.limit_key,
        split_part(key.limit_key, ':', 1) AS name
    FROM (
        SELECT waiting_key.limit_key FROM waiting_key
        UNION
        SELECT limited.limit_key FROM taskq_queue_limits AS limited
    ) AS key
    WHERE
        key.limit_key IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM taskq_limits AS definition
            WHERE definition.limit_key = ANY(ARRAY[key.limit_key, split_part(key.limit_key, ':', 1)])
        )
)

SELECT
    unsaid.name::text AS name,
    coalesce(substr(max(unsaid.limit_key), length(unsaid.name) + 2), '')::text AS key,
    (
        sum(
            (
                SELECT count(*)
                FROM taskq_jobs AS job
                WHERE
                    job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key = unsaid.limit_key
                    AND job.paused IS NULL
            )
            + (SELECT count(DISTINCT gate.lock) FROM taskq_open_gates AS gate WHERE gate.limit_key = unsaid.limit_key)
            + (
                SELECT count(*)
                FROM taskq_queue_limits AS limited
                INNER JOIN taskq_ready AS job ON limited.queue_name = job.queue_name
                WHERE limited.limit_key = unsaid.limit_key
            )
        )
    )::bigint AS jobs,
    array(
        SELECT limited.queue_name
        FROM taskq_queue_limits AS limited
        WHERE limited.limit_key = unsaid.name
        ORDER BY limited.queue_name
    )::text [] AS queue_names
FROM unsaid
GROUP BY unsaid.name
ORDER BY unsaid.name;

-- name: ListTasksNotFound :many
-- The tasks whose jobs failed of late since the worker that claimed them did not know their task, and the events that
-- still make jobs of them.
SELECT
    job.task_name,
    count(DISTINCT failed.job_id)::bigint AS jobs,
    max(failed.worker_id)::bigint AS worker_id,
    extract(
        EPOCH FROM clock_timestamp() - least(max(failed.failed_at), clock_timestamp())
    )::double precision AS seconds,
    array(
        SELECT subscription.event
        FROM taskq_subscriptions AS subscription
        WHERE subscription.task_name = job.task_name
        ORDER BY subscription.event
    )::text [] AS events
FROM taskq_failed_attempts AS failed
INNER JOIN taskq_jobs AS job ON failed.job_id = job.id
WHERE
    failed.error_type = 'taskq.exceptions.TaskNotFound'
    -- Not one that was retried since, and waits, or failed by an error of its own.
    AND job.status = 'failed'
    AND job.claim = failed.claim
    AND failed.failed_at > now() - make_interval(secs => @since::double precision)
    AND failed.failed_at < 'infinity'
GROUP BY job.task_name
ORDER BY job.task_name;

-- name: ListStuckRows :many
-- Rows that wait for ever, or make others wait: nothing of taskq's writes them, but they may be written by hand, or by
-- a clock that was wrong. By what is wrong with them, up to 20 of each, named by their keys as text.
(
    SELECT
        'timeless'::text AS fault,
        job.id::text AS name
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND NOT job.due AND job.scheduled_at IS NULL
    ORDER BY job.id
    LIMIT 20
)
UNION ALL
(
    SELECT
        'unclaimed'::text AS fault,
        job.id::text AS name
    FROM taskq_jobs AS job
    WHERE
        job.status = 'doing'
        AND (job.worker_id IS NULL OR job.started_at IS NULL OR job.started_at > now() + interval '1 day')
    ORDER BY job.id
    LIMIT 20
)
UNION ALL
(
    SELECT
        'queueless'::text AS fault,
        job.id::text AS name
    FROM taskq_ready AS job
    WHERE job.queue_name = ''
    ORDER BY job.priority DESC, job.id
    LIMIT 20
)
UNION ALL
(
    SELECT
        'immortal'::text AS fault,
        worker.id::text AS name
    FROM taskq_workers AS worker
    WHERE worker.last_heartbeat > now() + interval '1 day'
    ORDER BY worker.id
    LIMIT 20
)
UNION ALL
(
    SELECT
        'ahead'::text AS fault,
        period.task_name AS name
    FROM taskq_periodic AS period
    WHERE period.last_tick > extract(EPOCH FROM now()) + 86400
    ORDER BY period.task_name, period.periodic_id
    LIMIT 20
);
