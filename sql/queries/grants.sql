-- What lets a role do one kind of work and nothing else: statements for the owner of the schema.

-- name: WriteDeferrerGrants :one
-- A deferrer writes what a new job has, and reads where jobs stand: not what they were given, nor what
-- they returned. It has what taskq_defer_jobs touches, which runs with the rights of its caller: a
-- function with the rights of its owner would be one more thing to guard.
SELECT
    format(
        'GRANT USAGE ON SCHEMA %1$I TO %2$I;
GRANT SELECT (
    id, status, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key, due, paused, worker_id
) ON TABLE %1$I.taskq_jobs TO %2$I;
GRANT INSERT (
    task_name, args, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key, scheduled_at, due,
    metadata, tags, awaited, expires_at
) ON TABLE %1$I.taskq_jobs TO %2$I;
GRANT INSERT ON TABLE %1$I.taskq_open_gates, %1$I.taskq_limit_gates TO %2$I;
GRANT SELECT (queue_name, priority, job_id, limit_key) ON TABLE %1$I.taskq_open_gates TO %2$I;
GRANT SELECT (queue_name, limit_key) ON TABLE %1$I.taskq_queue_limits TO %2$I;
GRANT SELECT ON TABLE %1$I.taskq_limited, %1$I.taskq_subscriptions, %1$I.taskq_migrations TO %2$I;
GRANT EXECUTE ON FUNCTION %1$I.taskq_defer_jobs, %1$I.taskq_new_jobs, %1$I.taskq_publish, %1$I.taskq_key_text,
    %1$I.taskq_lock_head, %1$I.taskq_lock_holder,
    %1$I.taskq_open_locks, %1$I.taskq_limit_head, %1$I.taskq_limit_places, %1$I.taskq_turn,
    %1$I.taskq_open_limits, %1$I.taskq_open_for_jobs,
    %1$I.taskq_channel, %1$I.taskq_notify, %1$I.taskq_listen TO %2$I;
',
        current_schema(), @role::text
    )::text AS script;

-- name: WriteWorkerGrants :one
-- A worker does all that may be done to jobs, but changes nothing of the schema.
SELECT
    format(
        'GRANT USAGE ON SCHEMA %1$I TO %2$I;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %1$I.taskq_jobs, %1$I.taskq_workers TO %2$I;
GRANT SELECT, INSERT, UPDATE ON TABLE %1$I.taskq_failed_attempts, %1$I.taskq_periodic,
    %1$I.taskq_retention TO %2$I;
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE %1$I.taskq_open_gates, %1$I.taskq_limit_gates, %1$I.taskq_limits,
    %1$I.taskq_queue_limits, %1$I.taskq_limit_rates, %1$I.taskq_pauses, %1$I.taskq_subscriptions TO %2$I;
GRANT SELECT, UPDATE ON TABLE %1$I.taskq_ready TO %2$I;
GRANT SELECT ON TABLE %1$I.taskq_barred_queues, %1$I.taskq_limited TO %2$I;
GRANT SELECT ON TABLE %1$I.taskq_migrations TO %2$I;
GRANT EXECUTE ON FUNCTION %1$I.taskq_defer_jobs, %1$I.taskq_new_jobs, %1$I.taskq_publish, %1$I.taskq_key_text,
    %1$I.taskq_channel, %1$I.taskq_notify,
    %1$I.taskq_abort, %1$I.taskq_pause, %1$I.taskq_ended,
    %1$I.taskq_listen, %1$I.taskq_incarnation, %1$I.taskq_job_fits, %1$I.taskq_has_error,
    %1$I.taskq_lock_head, %1$I.taskq_lock_holder, %1$I.taskq_open_locks,
    %1$I.taskq_expire_jobs, %1$I.taskq_next_limit_key, %1$I.taskq_next_filled_queue, %1$I.taskq_next_ready_queue,
    %1$I.taskq_is_full, %1$I.taskq_is_ready, %1$I.taskq_ready_jobs, %1$I.taskq_take_ready_jobs,
    %1$I.taskq_limit_figures, %1$I.taskq_limit_state, %1$I.taskq_limit_head, %1$I.taskq_turn,
    %1$I.taskq_open_limits, %1$I.taskq_open_for_jobs,
    %1$I.taskq_bar_paused_jobs, %1$I.taskq_let_in_paused_jobs, %1$I.taskq_limited_jobs, %1$I.taskq_settle_limits,
    %1$I.taskq_limit_places, %1$I.taskq_free_limits, %1$I.taskq_try_gate, %1$I.taskq_lock_runs,
    %1$I.taskq_take_gated_jobs, %1$I.taskq_claim_jobs, %1$I.taskq_backlog TO %2$I;
',
        current_schema(), @role::text
    )::text AS script;

-- name: WriteObserverGrants :one
-- An observer reads everything, arguments and results too, and writes nothing.
SELECT
    format(
        'GRANT USAGE ON SCHEMA %1$I TO %2$I;
GRANT SELECT ON TABLE %1$I.taskq_jobs, %1$I.taskq_open_gates, %1$I.taskq_pauses, %1$I.taskq_limits,
    %1$I.taskq_queue_limits, %1$I.taskq_limit_rates, %1$I.taskq_limit_gates, %1$I.taskq_failed_attempts,
    %1$I.taskq_workers, %1$I.taskq_periodic, %1$I.taskq_retention, %1$I.taskq_subscriptions, %1$I.taskq_migrations,
    %1$I.taskq_ready, %1$I.taskq_limited, %1$I.taskq_barred_queues TO %2$I;
GRANT EXECUTE ON FUNCTION %1$I.taskq_job_fits, %1$I.taskq_has_error, %1$I.taskq_limit_figures, %1$I.taskq_limit_state,
    %1$I.taskq_next_limit_key, %1$I.taskq_backlog, %1$I.taskq_next_filled_queue, %1$I.taskq_next_ready_queue,
    %1$I.taskq_is_ready, %1$I.taskq_is_full, %1$I.taskq_lock_head, %1$I.taskq_lock_holder TO %2$I;
',
        current_schema(), @role::text
    )::text AS script;
