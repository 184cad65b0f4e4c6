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
