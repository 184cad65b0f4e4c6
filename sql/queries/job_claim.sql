-- name: ClaimJobs :many
-- Takes the next jobs for a worker: those without a lock, and the heads of locks that are free.
-- The head of a lock is its first todo job even if that is not due yet, so that a job that waits for
-- its retry holds its followers.
--
-- It peeks first and takes then. Locking rows while looking would lock up to max_jobs of each queue
-- and of the heads, to take max_jobs of them in all: a worker that looks in that moment finds less
-- than there is, and sleeps. What a peek has wrong is put right by the taking: SKIP LOCKED moves on
-- to the next job, FOR UPDATE looks at status again, ON CONFLICT decides about the lock.
--
-- At most 1,000 jobs at once. Wants jit = off: the planner's guesses about the hops are far too high.
--
-- Milliseconds for 100 jobs, PostgreSQL 15, no queue named; `python -m benchmarks --only shapes` measures it.
-- The first design had one index over all jobs without a lock, one over all with a lock, and asked of
-- each job with a lock whether it is the head.
--
--                                                   first    now
--   100k ready jobs, nothing else                     2.4    2.0
--   1 M finished beside them                          2.8    1.9
--   1 M for later ahead of them                       140    1.9
--   1 M of another queue ahead, one queue named       213    1.8
--   100k over 100 busy locks ahead of them            441    2.9
--   one busy lock 100k deep ahead of them             780    3.9
--   100k, each its own lock                             9    4.8
--   one busy lock 100k deep, 100k with their own              11
--   200k in 1,000 queues, half of them locked                 33
--
-- While another transaction holds the xmin horizon, the entries of jobs that are long claimed stay at
-- the front of the index and a claim would walk them each time: 3 ms at first, 50 to 70 ms when 200k
-- jobs had passed. A worker whose claims flow therefore passes marks, how far it has come in each queue
-- and priority, and of the jobs without a lock only those behind them are looked at: 3 to 4 ms when 200k
-- jobs had passed (PostgreSQL 18, `python -m benchmarks --only held`). Priorities that have no mark are
-- looked at in full. Jobs with a lock are not helped.
WITH RECURSIVE mark AS (
    SELECT
        -- In the order of the column, as what lies between two marks is looked up there.
        unnest(@mark_queues::text []) COLLATE "C" AS queue_name,
        unnest(@mark_priorities::integer []) AS priority,
        unnest(@mark_ids::bigint []) AS id
),

-- Between the queues with a mark: the hops would walk what is dead at the front of those.
gap AS (
    SELECT
        coalesce(lag(marked.name) OVER (ORDER BY marked.name), '') AS above,
        marked.name AS below
    FROM (SELECT DISTINCT mark.queue_name AS name FROM mark) AS marked
    UNION ALL
    SELECT
        coalesce(max(mark.queue_name), '') AS above,
        null::text AS below
    FROM mark
),

-- The queues that have something, by hopping from the best job of one to that of the next.
-- The best max_jobs of all are in the queues whose best ones are the best. Not asked if the
-- queues are named.
free_queue AS (
    SELECT
        first.name,
        first.priority,
        first.id,
        gap.below
    FROM gap
    CROSS JOIN LATERAL (
        (
            SELECT
                job.queue_name AS name,
                job.priority,
                job.id
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.queue_name > gap.above
                AND gap.below IS NULL
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                job.queue_name AS name,
                job.priority,
                job.id
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.queue_name > gap.above AND job.queue_name < gap.below
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
    ) AS first
    WHERE sqlc.narg(queue_names)::text [] IS NULL
    UNION ALL
    SELECT
        following.name,
        following.priority,
        following.id,
        free_queue.below
    FROM free_queue
    CROSS JOIN LATERAL (
        (
            SELECT
                job.queue_name AS name,
                job.priority,
                job.id
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.queue_name > free_queue.name
                AND free_queue.below IS NULL
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                job.queue_name AS name,
                job.priority,
                job.id
            FROM taskq_jobs AS job
            WHERE
                job.status = 'todo' AND job.due AND job.lock IS NULL
                AND job.queue_name > free_queue.name AND job.queue_name < free_queue.below
            ORDER BY job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
    ) AS following
),

locked_queue AS (
    (
        SELECT
            job.queue_name AS name,
            job.priority,
            job.id
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NOT NULL
            AND sqlc.narg(queue_names)::text [] IS NULL
        ORDER BY job.queue_name, job.priority DESC, job.id
        LIMIT 1
    )
    UNION ALL
    SELECT
        following.name,
        following.priority,
        following.id
    FROM locked_queue
    CROSS JOIN LATERAL (
        SELECT
            job.queue_name AS name,
            job.priority,
            job.id
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NOT NULL
            AND job.queue_name > locked_queue.name
        ORDER BY job.queue_name, job.priority DESC, job.id
        LIMIT 1
    ) AS following
),

named_queue AS (
    SELECT DISTINCT named.name::text AS name
    FROM unnest(sqlc.narg(queue_names)::text []) AS named (name)
),

-- Where to look for jobs without a lock: all of a queue, or what its marks leave of it. Priorities as
-- bigint, so that there is one above the highest.
stretch AS (
    SELECT
        queue.name AS queue_name,
        2147483647::bigint AS highest,
        -2147483648::bigint AS lowest,
        null::bigint AS after_id
    FROM (
        (
            SELECT free_queue.name
            FROM free_queue
            ORDER BY free_queue.priority DESC, free_queue.id
            LIMIT @max_jobs::integer
        )
        UNION ALL
        SELECT named_queue.name
        FROM named_queue
        WHERE named_queue.name NOT IN (SELECT mark.queue_name FROM mark)
    ) AS queue
    UNION ALL
    SELECT
        mark.queue_name,
        mark.priority::bigint AS highest,
        mark.priority::bigint AS lowest,
        mark.id AS after_id
    FROM mark
    UNION ALL
    SELECT
        mark.queue_name,
        coalesce(
            lag(mark.priority) OVER (PARTITION BY mark.queue_name ORDER BY mark.priority DESC),
            2147483648
        )::bigint - 1 AS highest,
        mark.priority::bigint + 1 AS lowest,
        null::bigint AS after_id
    FROM mark
    UNION ALL
    SELECT
        mark.queue_name,
        min(mark.priority)::bigint - 1 AS highest,
        -2147483648::bigint AS lowest,
        null::bigint AS after_id
    FROM mark
    GROUP BY mark.queue_name
),

-- The best jobs without a lock, of each stretch as many as could be taken in all.
free AS (
    SELECT
        stretch.queue_name,
        stretch.highest,
        stretch.lowest,
        stretch.after_id,
        best.id,
        best.priority
    FROM stretch
    CROSS JOIN LATERAL (
        SELECT
            job.id,
            job.priority
        FROM (
            SELECT
                todo.id,
                todo.priority
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                AND todo.queue_name = stretch.queue_name
                AND todo.priority BETWEEN stretch.lowest AND stretch.highest
                AND stretch.after_id IS NULL
            ORDER BY todo.priority DESC, todo.id
            LIMIT 1000
        ) AS job
        UNION ALL
        SELECT
            job.id,
            job.priority
        FROM (
            SELECT
                todo.id,
                todo.priority
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                AND todo.queue_name = stretch.queue_name
                AND todo.priority = stretch.highest AND todo.id > stretch.after_id
            ORDER BY todo.id
            LIMIT 1000
        ) AS job
        LIMIT @max_jobs::integer
    ) AS best
),

-- The front of the jobs with a lock, of each queue.
front AS (
    SELECT
        queue.name AS queue_name,
        best.id,
        best.priority,
        best.lock
    FROM (
        (
            SELECT locked_queue.name
            FROM locked_queue
            ORDER BY locked_queue.priority DESC, locked_queue.id
            LIMIT @max_jobs::integer
        )
        UNION ALL
        SELECT named_queue.name
        FROM named_queue
    ) AS queue
    CROSS JOIN LATERAL (
        SELECT
            job.id,
            job.priority,
            job.lock
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NOT NULL
            AND job.queue_name = queue.name
        ORDER BY job.priority DESC, job.id
        LIMIT 200
    ) AS best
),

near AS (
    SELECT
        first.id,
        first.priority,
        first.lock
    FROM (
        SELECT DISTINCT ON (front.lock)
            front.id,
            front.priority,
            front.lock
        FROM front
        ORDER BY front.lock, front.priority DESC, front.id
    ) AS first
    WHERE
        first.lock NOT IN (SELECT taskq_locks.lock FROM taskq_locks)
        -- Another queue may have an earlier one.
        AND first.id = (
            SELECT job.id
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND job.due AND job.lock = first.lock
            ORDER BY job.lock, job.priority DESC, job.id
            LIMIT 1
        )
        AND coalesce((
            SELECT
                job.priority < first.priority
                OR (job.priority = first.priority AND job.id > first.id)
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND NOT job.due AND job.lock = first.lock
            ORDER BY job.lock, job.priority DESC, job.id
            LIMIT 1
        ), true)
),

-- Only when the fronts have too few heads and do not show everything: jobs of few locks bar the
-- view. Then from lock to lock, past all that wait behind one another.
sweep AS (
    (
        SELECT
            job.lock,
            job.priority,
            job.id,
            job.queue_name
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NOT NULL
            AND (SELECT count(*) FROM near) < @max_jobs::integer
            AND (
                (SELECT count(*) FROM locked_queue) > @max_jobs::integer
                OR EXISTS (SELECT FROM front GROUP BY front.queue_name HAVING count(*) = 200)
            )
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    )
    UNION ALL
    SELECT
        following.lock,
        following.priority,
        following.id,
        following.queue_name
    FROM sweep
    CROSS JOIN LATERAL (
        SELECT
            job.lock,
            job.priority,
            job.id,
            job.queue_name
        FROM taskq_jobs AS job
        WHERE
            job.status = 'todo' AND job.due AND job.lock IS NOT NULL
            AND job.lock > sweep.lock
        ORDER BY job.lock, job.priority DESC, job.id
        LIMIT 1
    ) AS following
),

far AS (
    SELECT
        sweep.id,
        sweep.priority,
        sweep.lock
    FROM sweep
    WHERE
        (
            sqlc.narg(queue_names)::text [] IS NULL
            OR sweep.queue_name = ANY(sqlc.narg(queue_names)::text [])
        )
        AND sweep.lock NOT IN (SELECT taskq_locks.lock FROM taskq_locks)
        AND coalesce((
            SELECT
                job.priority < sweep.priority
                OR (job.priority = sweep.priority AND job.id > sweep.id)
            FROM taskq_jobs AS job
            WHERE job.status = 'todo' AND NOT job.due AND job.lock = sweep.lock
            ORDER BY job.lock, job.priority DESC, job.id
            LIMIT 1
        ), true)
    -- Enough to choose the best from; more would only be read.
    LIMIT 1000
),

head AS (
    SELECT
        near.id,
        near.priority,
        near.lock
    FROM near
    UNION
    SELECT
        far.id,
        far.priority,
        far.lock
    FROM far
),

wanted AS (
    SELECT
        candidate.queue_name,
        candidate.highest,
        candidate.lowest,
        candidate.after_id,
        candidate.lock
    FROM (
        SELECT
            free.queue_name,
            free.highest,
            free.lowest,
            free.after_id,
            free.priority,
            free.id,
            null::text AS lock
        FROM free
        UNION ALL
        SELECT
            null::text AS queue_name,
            null::bigint AS highest,
            null::bigint AS lowest,
            null::bigint AS after_id,
            head.priority,
            head.id,
            head.lock
        FROM head
    ) AS candidate
    ORDER BY candidate.priority DESC, candidate.id
    LIMIT @max_jobs::integer
),

taken AS (
    SELECT best.id
    FROM (
        SELECT
            wanted.queue_name,
            wanted.highest,
            wanted.lowest,
            wanted.after_id,
            count(*) AS jobs
        FROM wanted
        WHERE wanted.lock IS NULL
        GROUP BY wanted.queue_name, wanted.highest, wanted.lowest, wanted.after_id
    ) AS share
    CROSS JOIN LATERAL (
        SELECT job.id
        FROM (
            SELECT todo.id
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                AND todo.queue_name = share.queue_name
                AND todo.priority BETWEEN share.lowest AND share.highest
                AND share.after_id IS NULL
            ORDER BY todo.priority DESC, todo.id
            LIMIT 1000
            FOR UPDATE SKIP LOCKED
        ) AS job
        UNION ALL
        SELECT job.id
        FROM (
            SELECT todo.id
            FROM taskq_jobs AS todo
            WHERE
                todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                AND todo.queue_name = share.queue_name
                AND todo.priority = share.highest AND todo.id > share.after_id
            ORDER BY todo.id
            LIMIT 1000
            FOR UPDATE SKIP LOCKED
        ) AS job
        LIMIT share.jobs
    ) AS best
),

taken_head AS (
    SELECT
        job.id,
        job.lock
    FROM head
    INNER JOIN taskq_jobs AS job ON head.id = job.id
    WHERE job.status = 'todo' AND job.due AND job.lock = head.lock
    ORDER BY head.priority DESC, head.id
    LIMIT (SELECT count(*) FROM wanted WHERE wanted.lock IS NOT NULL)
    FOR UPDATE OF job SKIP LOCKED
),

-- In the order of the locks: two claims that meet here wait for one another at most once.
held AS (
    INSERT INTO taskq_locks (lock, job_id)
    SELECT
        taken_head.lock,
        taken_head.id
    FROM taken_head
    ORDER BY taken_head.lock
    ON CONFLICT DO NOTHING
    RETURNING job_id AS id
),

claimed AS (
    UPDATE taskq_jobs
    SET
        status = 'doing',
        worker_id = @worker_id::bigint,
        -- As far as an integer goes: one row must not make the claim of all fail.
        claim = least(taskq_jobs.claim, 999999999) + 1,
        attempt = least(taskq_jobs.attempt, 999999999) + 1,
        started_at = now()
    -- An array, and not a join: the planner takes a LIMIT that it does not know for a tenth of the
    -- table, and would read all of it.
    WHERE
        taskq_jobs.id = ANY(ARRAY(
            SELECT taken.id FROM taken
            UNION ALL
            SELECT held.id FROM held
        ))
    RETURNING taskq_jobs.*
)

SELECT *
FROM claimed
ORDER BY claimed.priority DESC, claimed.id;

-- name: ClaimFreeJobs :many
-- Takes the next jobs of one queue, unless one there has a lock: then it takes nothing, and ClaimJobs has to
-- decide. What an idle worker tries first when it hears of a queue. It goes by the same order, and takes what
-- ClaimJobs would if nothing but this queue has a job.
--
-- Most of what ClaimJobs costs for a single job is its size: a processor that has just slept runs a plan of
-- 150 nodes for the first time again, whatever they find. Microseconds for one job, round trip and commit,
-- medians of 200, PostgreSQL 15:
--
--                                           ClaimJobs    this
--   one after another                             789     467
--   each 20 ms after the one before              1260     634
WITH claimed AS (
    UPDATE taskq_jobs
    SET
        status = 'doing',
        worker_id = @worker_id::bigint,
        -- As far as an integer goes: one row must not make the claim of all fail.
        claim = least(taskq_jobs.claim, 999999999) + 1,
        attempt = least(taskq_jobs.attempt, 999999999) + 1,
        started_at = now()
    -- The arrays and limits are for the planner, as in ClaimJobs.
    WHERE
        taskq_jobs.id = ANY(ARRAY(
            SELECT job.id
            FROM (
                SELECT todo.id
                FROM taskq_jobs AS todo
                WHERE
                    todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                    AND todo.queue_name = @queue_name::text
                ORDER BY todo.priority DESC, todo.id
                LIMIT 1000
                FOR UPDATE SKIP LOCKED
            ) AS job
            WHERE
                NOT EXISTS (
                    SELECT
                    FROM (
                        SELECT locked.id
                        FROM taskq_jobs AS locked
                        WHERE
                            locked.status = 'todo' AND locked.due AND locked.lock IS NOT NULL
                            AND locked.queue_name = @queue_name::text
                        ORDER BY locked.queue_name, locked.priority DESC, locked.id
                        LIMIT 1
                    ) AS first
                )
            LIMIT @max_jobs::integer
        ))
    RETURNING taskq_jobs.*
)

SELECT *
FROM claimed
ORDER BY claimed.priority DESC, claimed.id;

-- name: HasReadyJobs :one
-- Whether a claim is worth trying: a hundredth of its cost, and nothing written. It errs only towards
-- yes, for a lock whose head is for later, and looks at the first 200 jobs with a lock of each queue;
-- the poll of an idle worker is a claim and sees all.
-- Each part asks for its first job in the order of an index: for any job at all, the planner would read
-- the table from its start, past all that is finished.
SELECT
    (
        (
            sqlc.narg(queue_names)::text [] IS NULL
            AND (
                EXISTS (
                    SELECT
                    FROM (
                        SELECT todo.id
                        FROM taskq_jobs AS todo
                        WHERE todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                        ORDER BY todo.queue_name, todo.priority DESC, todo.id
                        LIMIT 1
                    ) AS first
                )
                OR EXISTS (
                    SELECT
                    FROM (
                        SELECT todo.lock
                        FROM taskq_jobs AS todo
                        WHERE todo.status = 'todo' AND todo.due AND todo.lock IS NOT NULL
                        ORDER BY todo.queue_name, todo.priority DESC, todo.id
                        LIMIT 200
                    ) AS front
                    WHERE NOT EXISTS (SELECT FROM taskq_locks WHERE taskq_locks.lock = front.lock)
                )
            )
        )
        OR EXISTS (
            SELECT
            FROM unnest(sqlc.narg(queue_names)::text []) AS named (name)
            WHERE
                EXISTS (
                    SELECT
                    FROM (
                        SELECT todo.id
                        FROM taskq_jobs AS todo
                        WHERE
                            todo.status = 'todo' AND todo.due AND todo.lock IS NULL
                            AND todo.queue_name = named.name
                        ORDER BY todo.queue_name, todo.priority DESC, todo.id
                        LIMIT 1
                    ) AS first
                )
                OR EXISTS (
                    SELECT
                    FROM (
                        SELECT todo.lock
                        FROM taskq_jobs AS todo
                        WHERE
                            todo.status = 'todo' AND todo.due AND todo.lock IS NOT NULL
                            AND todo.queue_name = named.name
                        ORDER BY todo.queue_name, todo.priority DESC, todo.id
                        LIMIT 200
                    ) AS front
                    WHERE NOT EXISTS (SELECT FROM taskq_locks WHERE taskq_locks.lock = front.lock)
                )
        )
    )::boolean AS ready,
    -- Transactions from oldest on may still be under way, and bring jobs without a notification;
    -- next and later ones notify by themselves.
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_transaction,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction;
