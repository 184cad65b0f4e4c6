-- name: FindNamespace :one
-- The namespace that the schema is in, or is to be: the first of search_path that is there and that the
-- role may use. Empty: none is.
SELECT
    coalesce(current_schema(), '')::text AS namespace,
    current_setting('search_path')::text AS search_path;

-- name: HasMigrations :one
-- False in a namespace that has never seen taskq, where the table cannot be asked. Of the namespaces of
-- search_path only the first counts: there the schema would be made.
SELECT
    coalesce(
        to_regclass(quote_ident(current_schema()) || '.taskq_migrations') IS NOT NULL, false
    )::boolean AS present;

-- name: ListMigrations :many
SELECT * FROM taskq_migrations
ORDER BY version;

-- name: TryLockMigrations :one
-- Of many processes that migrate at once, one does the work, and the others find it done. The lock is the
-- session's, and is tried again and again: to wait for it inside of a statement would hold a
-- snapshot, for whose end CREATE INDEX CONCURRENTLY waits in the session that has the lock.
SELECT
    pg_try_advisory_lock(
        hashtextextended('taskq_migrations of ' || current_schema(), 0)
    )::boolean AS locked;

-- name: PrepareMigrations :exec
-- For a session that migrates. Only the one namespace is in its search_path, which the functions keep:
-- not "$user", which is another one for another role, and temporary tables come last. A wait for a lock is
-- short, as all that come after it wait behind it. Work that waits for no lock may take its time.
SELECT
    set_config('search_path', quote_ident(current_schema()) || ', pg_temp', false),
    set_config('lock_timeout', @lock_timeout::text, false),
    set_config('statement_timeout', '0', false);

-- name: WriteMigration :one
-- What applies a migration and records it, all or none; run by apply, and by people.
SELECT
    format(
        'BEGIN;

%s
INSERT INTO taskq_migrations (version, name, checksum)
VALUES (%s, %L, %L);

COMMIT;
',
        @migration::text, @version::integer, @name::text, @checksum::text
    )::text AS script;

-- name: WriteConcurrentMigration :one
-- The same for one whose statements refuse to be in a transaction. They may wait for as long as it takes:
-- nothing waits behind them.
SELECT
    format(
        'SET lock_timeout = 0;

%s
SET lock_timeout = %L;

INSERT INTO taskq_migrations (version, name, checksum)
VALUES (%s, %L, %L);
',
        @migration::text, @lock_timeout::text, @version::integer, @name::text, @checksum::text
    )::text AS script;

-- name: WriteOpening :one
-- What PrepareMigrations and TryLockMigrations do, for psql.
SELECT
    format(
        '%4$sset ON_ERROR_STOP on
SET search_path = %1$I, pg_temp;
SET lock_timeout = %2$L;
SET statement_timeout = 0;
DO $taskq$
BEGIN
    IF NOT pg_try_advisory_lock(%3$s) THEN
        RAISE lock_not_available USING MESSAGE = ''another session applies the schema of taskq'';
    END IF;
END;
$taskq$;
',
        current_schema(),
        @lock_timeout::text,
        hashtextextended('taskq_migrations of ' || current_schema(), 0),
        chr(92)
    )::text AS script;

-- name: WriteClosing :one
-- The session as it was, for psql.
SELECT
    format(
        'SELECT pg_advisory_unlock(%s);
RESET search_path;
RESET lock_timeout;
RESET statement_timeout;
',
        hashtextextended('taskq_migrations of ' || current_schema(), 0)
    )::text AS script;

-- name: WriteRemoval :one
-- By name, and not by the beginning of a name: users may have a taskq_jobs_archive. Without CASCADE:
-- what depends on the schema is not taskq's to drop. Functions first, which depend on the others, but for those that a
-- view depends on; and last the one that a table's triggers depend on.
SELECT
    'BEGIN;

DROP FUNCTION IF EXISTS
    taskq_publish, taskq_key_text, taskq_defer_jobs, taskq_new_jobs, taskq_claim_jobs, taskq_take_gated_jobs,
    taskq_backlog, taskq_lock_runs, taskq_settle_limits, taskq_limited_jobs, taskq_try_gate,
    taskq_let_in_paused_jobs, taskq_bar_paused_jobs, taskq_take_ready_jobs, taskq_ready_jobs, taskq_is_ready,
    taskq_next_ready_queue, taskq_free_limits, taskq_open_for_jobs, taskq_open_limits, taskq_turn, taskq_next_limit_key,
    taskq_limit_places, taskq_limit_head,
    taskq_next_filled_queue, taskq_expire_jobs, taskq_open_locks, taskq_lock_holder, taskq_lock_head, taskq_has_error,
    taskq_job_fits,
    taskq_notify, taskq_pause, taskq_abort, taskq_ended, taskq_listen, taskq_incarnation,
    taskq_channel;
DROP VIEW IF EXISTS taskq_barred_queues, taskq_ready, taskq_limited;
DROP FUNCTION IF EXISTS taskq_is_full, taskq_limit_state, taskq_limit_figures;
DROP TABLE IF EXISTS
    taskq_failed_attempts, taskq_limit_gates, taskq_limit_rates, taskq_limits, taskq_open_gates, taskq_pauses,
    taskq_periodic, taskq_queue_limits, taskq_retention, taskq_subscriptions, taskq_workers, taskq_jobs,
    taskq_migrations;
DROP FUNCTION IF EXISTS taskq_notify_ended;
DROP TYPE IF EXISTS taskq_job_status;

COMMIT;
'::text AS script;

-- name: CountUsers :one
-- Whom the end of the schema would meet.
SELECT
    (SELECT count(*) FROM taskq_jobs WHERE status IN ('todo', 'doing'))::bigint AS jobs,
    (SELECT count(*) FROM taskq_workers)::bigint AS workers;

-- name: ListBlockers :many
-- Who has had a lock on taskq's tables for longest, for a migration that could not get one. Below 0 seconds: since
-- when is hidden, as from a role that is no member of pg_read_all_stats.
SELECT
    activity.pid::integer AS pid,
    coalesce(activity.usename::text, '')::text AS role,
    coalesce(activity.application_name, '')::text AS application,
    coalesce(
        extract(EPOCH FROM clock_timestamp() - activity.xact_start), -1
    )::double precision AS seconds
FROM pg_catalog.pg_stat_activity AS activity
WHERE
    activity.pid <> pg_backend_pid()
    AND activity.datname = current_database()
    AND EXISTS (
        SELECT
        FROM pg_catalog.pg_locks AS held
        INNER JOIN pg_catalog.pg_class AS relation ON held.relation = relation.oid
        WHERE
            held.pid = activity.pid AND held.granted
            AND relation.relnamespace = to_regnamespace(quote_ident(current_schema()))
            AND starts_with(relation.relname::text, 'taskq_')
    )
ORDER BY activity.xact_start
LIMIT 3;
