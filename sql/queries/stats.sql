-- name: GetTraffic :many
-- Two counters that only grow, for reading again and again: ids that jobs have drawn, and attempts that
-- have failed. Nothing is counted for them. A transaction that is open, or that was rolled back, has drawn
-- ids too; the server's statistics, which count the attempts, come some seconds late.
SELECT
    clock_timestamp()::timestamptz AS read_at,
    coalesce(
        (
            -- Null for a role that may not read the sequence.
            SELECT sequence.last_value
            FROM pg_catalog.pg_sequences AS sequence
            WHERE
                format('%I.%I', sequence.schemaname, sequence.sequencename)
                = pg_get_serial_sequence('taskq_jobs', 'id')
        ),
        (SELECT max(job.id) FROM taskq_jobs AS job),
        0
    )::bigint AS ids_drawn,
    coalesce(
        (
            SELECT stat.n_tup_ins
            FROM pg_catalog.pg_stat_all_tables AS stat
            WHERE stat.relid = 'taskq_failed_attempts'::regclass
        ),
        0
    )::bigint AS failed_attempts;

-- name: ListFigures :many
-- What metrics say of the queue as a whole, in one statement that reads a bounded number of rows, however long the
-- queues are: of jobs without a lock or a limit 10,000 for each priority of a queue, or 1,000 if there are many of
-- these (200,000 in all, of at most 200, from an index alone); 10,000 of each other kind. What is beyond is not
-- counted. How old the oldest is, the first 20 of each priority say. Jobs that are paused, and those for later, do
-- not wait in that sense.
--
-- Milliseconds: 0.4 beside a million finished jobs with none that waits, 4 with 20,000 that wait in two queues, 20 with
-- 100,000 behind locks and 500,000 for later beside these, 45 to 90 with a million in a hundred queues; PostgreSQL 18,
-- two busy cores, medians.
WITH RECURSIVE place AS (
    -- Each queue and priority that has jobs, from one to the next in the index, however many each has.
    SELECT
        first.queue_name,
        first.priority,
        1 AS number
    FROM (
        SELECT
            job.queue_name,
            job.priority
        FROM taskq_ready AS job
        ORDER BY job.queue_name, job.priority DESC, job.id
        LIMIT 1
    ) AS first
    UNION ALL
    SELECT
        following.queue_name,
        following.priority,
        place.number + 1
    FROM place
    CROSS JOIN LATERAL (
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_ready AS job
            WHERE job.queue_name = place.queue_name AND job.priority < place.priority
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_ready AS job
            WHERE job.queue_name > place.queue_name
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        LIMIT 1
    ) AS following
    WHERE place.number < 200
),

waiting AS (
    -- The oldest of those that are counted in the next branch: no jobs of its own.
    SELECT
        place.queue_name,
        0 AS jobs,
        greatest(coalesce(head.scheduled_at, head.deferred_at), head.started_at) AS since
    FROM place
    CROSS JOIN LATERAL (
        SELECT
            job.scheduled_at,
            job.deferred_at,
            job.started_at
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key IS NULL
            AND job.paused IS NULL AND job.queue_name = place.queue_name AND job.priority = place.priority
        ORDER BY job.id
        LIMIT 20
    ) AS head
    UNION ALL
    SELECT
        place.queue_name,
        1 AS jobs,
        NULL::timestamptz AS since
    FROM place
    CROSS JOIN LATERAL (
        SELECT
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key IS NULL
            AND job.paused IS NULL AND job.queue_name = place.queue_name AND job.priority = place.priority
        ORDER BY job.id
        LIMIT (SELECT least(10000, 200000 / count(*)) FROM place)
    ) AS ready
    UNION ALL
    SELECT
        held.queue_name,
        1 AS jobs,
        held.since
    FROM (
        (
            SELECT job.id
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND job.lock IS NOT NULL
            ORDER BY job.lock, job.priority DESC, job.id
            LIMIT 10000
        )
        UNION ALL
        (
            SELECT job.id
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key IS NOT NULL
                AND job.paused IS NULL
            ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
            LIMIT 10000
        )
    ) AS behind
    -- One by one, as the indexes above have no more than the ids.
    CROSS JOIN LATERAL (
        SELECT
            job.queue_name,
            greatest(coalesce(job.scheduled_at, job.deferred_at), job.started_at) AS since
        FROM taskq_jobs AS job
        WHERE job.id = behind.id AND job.due AND job.paused IS NULL
        LIMIT 1
    ) AS held
    UNION ALL
    (
        -- Those whose time has come, and which no worker has let in yet.
        SELECT
            job.queue_name,
            1 AS jobs,
            job.scheduled_at AS since
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND NOT job.due AND job.scheduled_at <= now()
        ORDER BY job.scheduled_at
        LIMIT 10000
    )
),

queue AS (
    SELECT
        waiting.queue_name,
        sum(waiting.jobs) AS jobs,
        extract(EPOCH FROM clock_timestamp() - min(waiting.since) FILTER (WHERE isfinite(waiting.since))) AS seconds
    FROM waiting
    GROUP BY waiting.queue_name
)

SELECT
    'waiting'::text AS figure,
    queue.queue_name::text AS label,
    queue.jobs::double precision AS value
FROM queue
UNION ALL
SELECT
    'oldest_waiting'::text,
    queue.queue_name::text,
    greatest(queue.seconds, 0)::double precision
FROM queue
UNION ALL
SELECT
    'running'::text,
    doing.queue_name::text,
    count(*)::double precision
FROM (
    SELECT job.queue_name
    FROM taskq_jobs AS job
    WHERE job.status = 'doing'
    ORDER BY job.worker_id
    LIMIT 10000
) AS doing
GROUP BY doing.queue_name
UNION ALL
(
    SELECT
        'paused'::text,
        pause.name::text,
        1::double precision
    FROM taskq_pauses AS pause
    WHERE pause.kind = 'queue'
    ORDER BY pause.name
    LIMIT 200
)
UNION ALL
SELECT
    unnest(ARRAY['workers', 'slots'])::text,
    ''::text,
    unnest(ARRAY[count(*), coalesce(sum(worker.concurrency), 0)])::double precision
FROM taskq_workers AS worker
WHERE
    worker.last_heartbeat > now() - make_interval(secs => @stalled_after::double precision)
    AND worker.last_heartbeat < 'infinity'
UNION ALL
SELECT
    'dead_rows'::text,
    class.relname::text,
    coalesce(stat.n_dead_tup, 0)::double precision
FROM pg_catalog.pg_class AS class
LEFT JOIN pg_catalog.pg_stat_all_tables AS stat ON class.oid = stat.relid
WHERE
    class.relkind = 'r'
    AND class.relname LIKE 'taskq!_%' ESCAPE '!'
    AND class.relnamespace = (
        SELECT jobs.relnamespace FROM pg_catalog.pg_class AS jobs WHERE jobs.oid = 'taskq_jobs'::regclass
    )
UNION ALL
SELECT
    'notification_queue'::text,
    ''::text,
    pg_notification_queue_usage()::double precision
UNION ALL
-- As GetTraffic has it.
SELECT
    'deferred'::text,
    ''::text,
    coalesce(
        (
            SELECT sequence.last_value
            FROM pg_catalog.pg_sequences AS sequence
            WHERE
                format('%I.%I', sequence.schemaname, sequence.sequencename)
                = pg_get_serial_sequence('taskq_jobs', 'id')
        ),
        (SELECT max(job.id) FROM taskq_jobs AS job),
        0
    )::double precision;
