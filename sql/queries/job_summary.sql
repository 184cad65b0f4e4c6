-- name: SummarizeEnded :many
-- What jobs did that have ended lately, by the moment, the queue or the task: how many there were and how many of them
-- failed, and for how long they ran in the end, as half and 95 % of them did at most (-1: none did). Of jobs that are
-- kept.
--
-- The last time is cut into so many spans, each of so many seconds, the last of which is not over. The 5,000 newest
-- jobs are looked at, each of them; of all others one in 32, which an index has by the time at which they ended, 100
-- of each sixth of a span at most. Where there are more, as many are taken to have ended as these were in the time they
-- took: of the whole span it would be wrong by far for a burst within it.
--
-- Milliseconds beside 5 M finished jobs, PostgreSQL 15, two busy cores; `python -m benchmarks.dashboard` measures it.
WITH newest AS (
    SELECT coalesce(max(job.id), 0) - 5000 AS after
    FROM taskq_jobs AS job
),

clock AS (
    SELECT
        given.seconds,
        given.spans,
        extract(EPOCH FROM now()) AS at,
        floor(extract(EPOCH FROM now()) / given.seconds) AS number
    FROM (SELECT @seconds::integer AS seconds, @spans::integer AS spans) AS given
),

slice AS (
    SELECT
        to_timestamp(part.begins) AS begins,
        to_timestamp(part.begins + clock.seconds / 6.0) AS ends,
        -- Of the last one what has passed.
        least(clock.seconds / 6.0, clock.at - part.begins) AS seconds,
        newest.after
    FROM clock
    CROSS JOIN newest
    CROSS JOIN LATERAL (
        SELECT (clock.number - clock.spans + 1) * clock.seconds + sixth.number * clock.seconds / 6.0 AS begins
        FROM generate_series(0, clock.spans * 6 - 1) AS sixth (number)
    ) AS part
    WHERE part.begins <= clock.at
),

ended AS (
    SELECT
        1.0 AS weight,
        job.finished_at,
        job.started_at,
        job.queue_name,
        job.task_name,
        job.status
    FROM newest
    CROSS JOIN LATERAL (
        SELECT *
        FROM taskq_jobs
        WHERE taskq_jobs.id > newest.after
        ORDER BY taskq_jobs.id
        LIMIT 5000
    ) AS job
    WHERE job.finished_at >= (SELECT min(slice.begins) FROM slice) AND job.finished_at <= now()
    UNION ALL
    SELECT
        sample.weight,
        sample.finished_at,
        sample.started_at,
        sample.queue_name,
        sample.task_name,
        sample.status
    FROM slice
    CROSS JOIN LATERAL (
        SELECT
            job.finished_at,
            job.started_at,
            job.queue_name,
            job.task_name,
            job.status,
            CASE
                WHEN count(*) OVER () < 100 THEN 32.0
                ELSE
                    32.0 * slice.seconds
                    / greatest(extract(EPOCH FROM max(job.finished_at) OVER () - slice.begins), 0.001)
            END AS weight
        FROM (
            SELECT *
            FROM taskq_jobs
            WHERE
                taskq_jobs.finished_at >= slice.begins AND taskq_jobs.finished_at < slice.ends
                AND (hashint8(taskq_jobs.id) & 31) = 0
                AND taskq_jobs.id <= slice.after
            ORDER BY taskq_jobs.finished_at
            LIMIT 100
        ) AS job
    ) AS sample
),

sorted AS (
    SELECT
        CASE @part::text
            WHEN 'queue' THEN ended.queue_name
            WHEN 'task' THEN ended.task_name
            ELSE
                (floor(extract(EPOCH FROM ended.finished_at) / clock.seconds) * clock.seconds)::bigint::text
        END AS part,
        ended.weight,
        ended.status,
        CASE
            WHEN ended.started_at <= ended.finished_at
                THEN extract(EPOCH FROM ended.finished_at - ended.started_at)
        END AS ran
    FROM ended
    CROSS JOIN clock
),

ranked AS (
    SELECT
        sorted.*,
        sum(sorted.weight) OVER (PARTITION BY sorted.part ORDER BY sorted.ran) AS below,
        sum(CASE WHEN sorted.ran IS NOT NULL THEN sorted.weight END) OVER (PARTITION BY sorted.part) AS all_ran
    FROM sorted
)

SELECT
    ranked.part::text AS part,
    round(sum(ranked.weight))::bigint AS jobs,
    round(coalesce(sum(ranked.weight) FILTER (WHERE ranked.status = 'failed'), 0))::bigint AS failed,
    bool_or(ranked.weight > 1)::boolean AS is_estimate,
    coalesce(min(ranked.ran) FILTER (WHERE ranked.below >= 0.5 * ranked.all_ran), -1)::double precision AS median,
    coalesce(min(ranked.ran) FILTER (WHERE ranked.below >= 0.95 * ranked.all_ran), -1)::double precision AS p95
FROM ranked
GROUP BY ranked.part
ORDER BY ranked.part;

-- name: ListLatestJobs :many
-- The newest job of each of some tasks, of the 10,000 newest jobs: as far as a page of a list goes.
SELECT DISTINCT ON (latest.task_name)
    latest.id,
    latest.task_name,
    latest.status,
    latest.finished_at,
    latest.deferred_at
FROM (
    SELECT *
    FROM taskq_jobs AS job
    ORDER BY job.id DESC
    LIMIT 10000
) AS latest
WHERE latest.task_name = ANY(@task_names::text [])
ORDER BY latest.task_name, latest.id DESC;
