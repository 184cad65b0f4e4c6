-- name: BeginJobCommit :one
-- In the transaction of a task, before anything else: whether the job is still what the worker claimed, and when
-- the transaction began, in microseconds, by which it is known from another one in the same session; and which
-- session that is, behind a pooler too.
SELECT
    (extract(EPOCH FROM now()) * 1000000)::bigint AS began_at,
    pg_backend_pid()::integer AS pid,
    (
        EXISTS (
            SELECT FROM taskq_jobs AS job
            WHERE
                job.id = @job_id::bigint
                AND job.claim = @claim::integer
                AND job.worker_id = @worker_id::bigint
                AND job.status = 'doing'
        )
    )::boolean AS is_ours;

-- name: HoldJob :one
-- The same at the end, just before FinishJobs and COMMIT: the row of the job is held from here on, and not while the
-- task works, so that a session that aborts or rescues it waits for two round trips at most. No row: it has
-- moved on. The number of the transaction says afterwards what became of it, if the answer to COMMIT is lost.
-- If nothing comes any more, as from a machine that was lost, the server ends the session after a while, and not when
-- TCP finds out in two hours: the job could not be rescued, and what it keeps others from would stand still.
SELECT
    job.abort_requested,
    set_config(
        'idle_in_transaction_session_timeout',
        coalesce(sqlc.narg(idle_for)::text, current_setting('idle_in_transaction_session_timeout')),
        true
    ) AS idle_for,
    (extract(EPOCH FROM now()) * 1000000)::bigint AS began_at,
    pg_current_xact_id()::text AS transaction_id
FROM taskq_jobs AS job
WHERE
    job.id = @job_id::bigint
    AND job.claim = @claim::integer
    AND job.worker_id = @worker_id::bigint
    AND job.status = 'doing'
FOR UPDATE;

-- name: EndSilentTransactions :many
-- Of transactions of tasks whose client waits for an answer: those that get none, as their session has ended, or
-- has been idle for so many seconds. What is idle is ended, as nobody will. Of another role's session nothing is
-- known.
SELECT
    judged.pid::integer AS pid,
    (CASE WHEN judged.is_idle THEN pg_terminate_backend(judged.pid) ELSE judged.is_gone END)::boolean AS is_silent
FROM (
    SELECT
        given.pid,
        activity.pid IS NULL
        OR (
            activity.state IS NOT NULL
            AND (extract(EPOCH FROM activity.xact_start) * 1000000)::bigint IS DISTINCT FROM given.began_at
        ) AS is_gone,
        coalesce(
            activity.state IN ('idle in transaction', 'idle in transaction (aborted)')
            AND (extract(EPOCH FROM activity.xact_start) * 1000000)::bigint = given.began_at
            AND activity.state_change < clock_timestamp() - make_interval(secs => @idle_for::double precision),
            false
        ) AS is_idle
    FROM (
        SELECT
            unnest(@pids::integer []) AS pid,
            unnest(@began_at::bigint []) AS began_at
    ) AS given
    LEFT JOIN pg_catalog.pg_stat_activity AS activity ON given.pid = activity.pid
) AS judged;

-- name: ReadJobCommit :one
-- Whether a transaction was committed whose COMMIT was not answered, or is still under way. It counts only if the
-- job has moved on as well: after a fail-over that lost it, another transaction may have its number, or none yet,
-- which is an error.
SELECT
    (
        coalesce(sent.status, '') = 'committed'
        AND NOT EXISTS (
            SELECT FROM taskq_jobs AS job
            WHERE
                job.id = @job_id::bigint
                AND job.claim = @claim::integer
                AND job.worker_id = @worker_id::bigint
                AND job.status = 'doing'
        )
    )::boolean AS is_committed,
    (coalesce(sent.status, '') = 'in progress')::boolean AS is_under_way
FROM (
    SELECT pg_xact_status(cast(@transaction_id::text AS xid8)) AS status
) AS sent;

-- name: EndJobCommit :many
-- Ends the session in which a transaction is under way whose connection is lost: nothing else would, for as long as
-- the server takes to find that out, and the row of the job is held.
SELECT pg_terminate_backend(activity.pid)::boolean AS is_told
FROM pg_catalog.pg_stat_activity AS activity
WHERE activity.backend_xid = cast(cast(@transaction_id::text AS xid8) AS xid);

-- name: OpenLocksAfterCommit :one
-- Opens the locks of jobs that ended by their own transactions. FinishJobs has done so in them, unless this worker ran
-- another job of the lock; that one may have gone back at the same time, by a transaction that saw the first one
-- run: neither opens the lock then. A worker's other ends come one after the other with this one.
SELECT taskq_open_locks(@locks::text [], false, @worker_id::bigint)::bigint AS queues;
