-- name: SummarizeEnded :many
-- What jobs did that have ended lately, by the moment, the queue or the task: how many there were and how many of them
-- failed, and for how long they ran in the end, as half and 95 % of them did at most (-1: none did). Of jobs that are
-- kept.
--
-- The last time is cut into so many spans, each of so many seconds, the last of which is not over. The 5,000 newest
-- jobs are looked at, each of them; of all others those that the index of a sample has, by the time at which they
-- ended: one in 32, or where more than 200 of a tier are in a span, those of the next tiers alone, each of which then
-- stands for eight times as many.
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
        floor(extract(EPOCH FROM now()) / given.seconds) AS number
    FROM (SELECT @seconds::integer AS seconds, @spans::integer AS spans) AS given
),

span AS (
    SELECT
        to_timestamp((clock.number - back.spans) * clock.seconds) AS begins,
        to_timestamp((clock.number - back.spans + 1) * clock.seconds) AS ends,
        newest.after
    FROM clock
    CROSS JOIN newest
    CROSS JOIN LATERAL generate_series(0, clock.spans - 1) AS back (spans)
),

-- One more than 200 of each tier, to see that there are more.
sampled AS (
    SELECT
        span.begins,
        tier.number AS tier,
        entry.*
    FROM span
    CROSS JOIN generate_series(0, 3) AS tier (number)
    CROSS JOIN LATERAL (
        SELECT
            job.finished_at,
            job.started_at,
            job.queue_name,
            job.task_name,
            job.status
        FROM taskq_jobs AS job
        WHERE
            CASE
                WHEN (hashint8(job.id) & 255) <> 0 THEN 0
                WHEN (hashint8(job.id) & 2047) <> 0 THEN 1
                WHEN (hashint8(job.id) & 16383) <> 0 THEN 2
                ELSE 3
            END = tier.number
            AND (hashint8(job.id) & 31) = 0
            AND job.finished_at >= span.begins AND job.finished_at < span.ends
            AND job.id <= span.after
        ORDER BY job.finished_at
        LIMIT 201
    ) AS entry
),

-- The first tier of a span of which all are there.
level AS (
    SELECT
        full_tier.begins,
        least(max(full_tier.tier) + 1, 3) AS tier
    FROM (
        SELECT
            sampled.begins,
            sampled.tier
        FROM sampled
        GROUP BY sampled.begins, sampled.tier
        HAVING count(*) > 200
    ) AS full_tier
    GROUP BY full_tier.begins
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
    WHERE job.finished_at >= (SELECT min(span.begins) FROM span) AND job.finished_at <= now()
    UNION ALL
    SELECT
        32.0 * 8.0 ^ coalesce(level.tier, 0) AS weight,
        sampled.finished_at,
        sampled.started_at,
        sampled.queue_name,
        sampled.task_name,
        sampled.status
    FROM sampled
    LEFT JOIN level ON sampled.begins = level.begins
    WHERE sampled.tier >= coalesce(level.tier, 0)
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
