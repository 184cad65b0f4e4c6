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
    coalesce(job.worker_id, 0)::bigint AS worker_id,
    EXISTS (SELECT FROM alive WHERE alive.id = job.worker_id)::boolean AS worker_is_alive,
    coalesce((SELECT head.id FROM head), 0)::bigint AS head_id,
    coalesce((SELECT holder.id FROM holder), 0)::bigint AS holder_id,
    coalesce((SELECT holder.worker_id FROM holder), 0)::bigint AS holder_worker_id,
    pause.paused_at,
    pause.paused_by,
    pause.reason AS pause_reason,
    coalesce(serving.workers, 0)::bigint AS workers,
    coalesce(serving.full_workers, 0)::bigint AS full_workers
FROM taskq_jobs AS job
LEFT JOIN taskq_pauses AS pause ON job.queue_name = pause.name AND pause.kind = 'queue'
CROSS JOIN LATERAL (
    SELECT
        count(*) AS workers,
        count(*) FILTER (WHERE alive.doing >= alive.concurrency) AS full_workers
    FROM alive
    WHERE NOT alive.stopping AND (alive.queue_names IS NULL OR job.queue_name = ANY(alive.queue_names))
) AS serving
WHERE job.id = ANY(ARRAY(SELECT asked.id FROM asked UNION ALL SELECT head.id FROM head));
