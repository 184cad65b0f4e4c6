-- Which job of a lock is the first, which one holds it, and when claims decide about it: docs/gates.md.

-- Planned as a part of what calls it: one probe of an index.
CREATE FUNCTION taskq_lock_head(wanted text) RETURNS TABLE (
    id bigint, priority integer, queue_name text, due boolean, limit_key text
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        job.id,
        job.priority,
        job.queue_name,
        job.due AND job.paused IS NULL,
        job.limit_key
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND job.lock = wanted
    ORDER BY job.lock, job.priority DESC, job.id
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_lock_head(text) IS
    'The first of the jobs that wait for a lock, due or not; no row: none waits. One that is paused is not due, '
    'either.';


-- Planned as a part of what calls it.
CREATE FUNCTION taskq_lock_holder(wanted text) RETURNS TABLE (id bigint, worker_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        job.id,
        job.worker_id
    FROM taskq_jobs AS job
    WHERE job.status BETWEEN 'doing' AND 'doing' AND job.lock = wanted
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_lock_holder(text) IS 'A job that holds a lock; no row: none does.';


-- One probe for each lock, and none of its jobs is changed: the next claim decides. Volatile, and so a statement of
-- its own with a snapshot of its own, also within a statement that calls it: it sees what was committed after that
-- statement began, up to the moment when it had the rows that it changes. docs/gates.md has the argument.
CREATE FUNCTION taskq_open_locks(
    locks text [], notify boolean DEFAULT true, ended_by bigint DEFAULT null
) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH head AS MATERIALIZED (
        SELECT
            first.*,
            named.lock
        FROM (SELECT DISTINCT unnest(locks) COLLATE "C" AS lock) AS named
        CROSS JOIN LATERAL taskq_lock_head(named.lock) AS first
        WHERE
            NOT EXISTS (
                SELECT FROM taskq_lock_holder(named.lock) AS holder
                WHERE holder.worker_id = ended_by
            )
    ),

    -- Also if the first one is for later: another transaction, which cannot see this one's jobs, may just be taking it
    -- away. A claim finds out, and waits for neither.
    opened AS (
        INSERT INTO taskq_open_gates (queue_name, priority, job_id, lock)
        SELECT
            head.queue_name,
            head.priority,
            head.id,
            head.lock
        FROM head
    ),

    notified AS (
        SELECT taskq_notify(head.queue_name)
        FROM head
        WHERE notify AND head.due
        GROUP BY head.queue_name
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_open_locks(text [], boolean, bigint) IS
    'Has the next claim decide about these locks, if jobs wait for them. To be called in the transaction that '
    'changes a job with a lock, after the change and by the same statement or a later one. A worker that has ended '
    'some of the jobs by which it holds a lock, ended_by, opens it with the last of them.';


-- There are 1,024 of them for all locks and limits, as PostgreSQL has room for a few thousand: where two share one, a
-- claim may pass over one of them.
CREATE FUNCTION taskq_try_gate(name text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT pg_try_advisory_xact_lock('taskq_open_gates'::regclass::oid::integer, hashtext(name) & 1023);
END;

COMMENT ON FUNCTION taskq_try_gate(text) IS
    'Takes the advisory lock by which claims of a lock or limit come one after the other; false: another claim has it.';
