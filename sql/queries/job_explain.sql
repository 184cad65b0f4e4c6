-- name: ExplainJob :many
-- What bears on whether a job is claimed: of the job, and of the one that is first in its lock, if that is another.
-- A reason not to run has its columns here, and a rule in taskq/queries/job_explain.py. 0 is no job and no worker. A
-- worker that is asked to stop claims nothing any more, and one has what it has prefetched in hand, too.
WITH asked AS (
    SELECT
        job.id,
        job.lock
    FROM taskq_jobs AS job
    WHERE job.id = @id::bigint
),

head AS (
    SELECT first.id
    FROM asked
    CROSS JOIN LATERAL (
        SELECT job.id
        FROM taskq_jobs AS job
        WHERE job.status = 'todo' AND job.lock = asked.lock
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    ) AS first
),

holder AS (
    SELECT
        first.id,
        first.worker_id
    FROM asked
    CROSS JOIN LATERAL (
        SELECT
            job.id,
            job.worker_id
        FROM taskq_jobs AS job
        WHERE job.status = 'doing' AND job.lock = asked.lock
        ORDER BY job.priority DESC, job.id
        LIMIT 1
    ) AS first
),

alive AS (
    SELECT
        worker.id,
        worker.queue_names,
        worker.stopping,
        worker.concurrency,
        coalesce(hand.jobs, 0) AS doing
    FROM taskq_workers AS worker
    LEFT JOIN (
        SELECT
            job.worker_id,
            count(*) AS jobs
        FROM taskq_jobs AS job
        WHERE job.status = 'doing'
        GROUP BY job.worker_id
    ) AS hand ON worker.id = hand.worker_id
    WHERE worker.last_heartbeat > now() - make_interval(secs => @stalled_after::double precision)
)

SELECT
    job.id,
    job.status,
    job.queue_name,
    job.scheduled_at,
    job.started_at,
    job.finished_at,
    (job.due OR job.scheduled_at <= clock_timestamp())::boolean AS is_due,
    job.expires_at,
    coalesce(job.expires_at <= coalesce(job.finished_at, clock_timestamp()), false)::boolean AS is_expired,
    coalesce(job.worker_id, 0)::bigint AS worker_id,
    EXISTS (SELECT FROM alive WHERE alive.id = job.worker_id)::boolean AS worker_is_alive,
    coalesce((SELECT head.id FROM head), 0)::bigint AS head_id,
    coalesce((SELECT holder.id FROM holder), 0)::bigint AS holder_id,
    coalesce((SELECT holder.worker_id FROM holder), 0)::bigint AS holder_worker_id,
    job.task_name,
    coalesce(job.given_back, 0)::integer AS given_back,
    queue_pause.paused_at,
    queue_pause.paused_by,
    queue_pause.reason AS pause_reason,
    task_pause.paused_at AS task_paused_at,
    task_pause.paused_by AS task_paused_by,
    task_pause.reason AS task_pause_reason,
    coalesce(serving.workers, 0)::bigint AS workers,
    coalesce(serving.full_workers, 0)::bigint AS full_workers
FROM taskq_jobs AS job
LEFT JOIN taskq_pauses AS queue_pause ON job.queue_name = queue_pause.name AND queue_pause.kind = 'queue'
LEFT JOIN taskq_pauses AS task_pause ON job.task_name = task_pause.name AND task_pause.kind = 'task'
CROSS JOIN LATERAL (
    SELECT
        count(*) AS workers,
        count(*) FILTER (WHERE alive.doing >= alive.concurrency) AS full_workers
    FROM alive
    WHERE NOT alive.stopping AND (alive.queue_names IS NULL OR job.queue_name = ANY(alive.queue_names))
) AS serving
WHERE job.id = ANY(ARRAY(SELECT asked.id FROM asked UNION ALL SELECT head.id FROM head));

-- name: ExplainLimits :many
-- The limits in which a job counts, its own and that of its queue, and how full they are: with some of the jobs that
-- run, and for a rate when it lets the next one start, in seconds since 1970. 0: there is no such figure.
WITH asked AS (
    SELECT
        job.limit_key,
        job.queue_name
    FROM taskq_jobs AS job
    WHERE job.id = @id::bigint
),

key AS (
    SELECT
        asked.limit_key AS name,
        false AS of_queue
    FROM asked
    WHERE asked.limit_key IS NOT NULL
    UNION ALL
    SELECT
        limited.limit_key AS name,
        true AS of_queue
    FROM asked
    INNER JOIN taskq_queue_limits AS limited ON asked.queue_name = limited.queue_name
)

SELECT
    key.name::text AS limit_key,
    key.of_queue::boolean AS of_queue,
    (figures.concurrency IS NOT NULL OR figures.rate IS NOT NULL)::boolean AS is_known,
    coalesce(figures.concurrency, 0)::integer AS concurrency,
    state.running::bigint AS running,
    state.room::bigint AS room,
    coalesce(extract(EPOCH FROM state.next_at), 0)::double precision AS next_at,
    array(
        SELECT running.id
        FROM taskq_jobs AS running
        WHERE
            running.status = 'doing'
            AND (
                running.limit_key = key.name
                OR running.queue_name = ANY(ARRAY(
                    SELECT counted.queue_name FROM taskq_queue_limits AS counted
                    WHERE counted.limit_key = key.name
                ))
            )
        ORDER BY running.id
        LIMIT 10
    )::bigint [] AS job_ids
FROM key
CROSS JOIN LATERAL taskq_limit_state(key.name) AS state (running, room, next_at, pace)
LEFT JOIN LATERAL taskq_limit_figures(key.name) AS figures (concurrency, rate, per, burst) ON true
ORDER BY key.of_queue;
