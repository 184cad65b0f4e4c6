-- name: PrepareSession :exec
-- Sets what a session of taskq's own relies on, given as an object of names and values, as far as this version
-- of the server has it.
SELECT set_config(setting.key, setting.value, false)
FROM jsonb_each_text(@settings::jsonb) AS setting
WHERE current_setting(setting.key, true) IS NOT NULL;

-- name: ListenSession :exec
-- Makes the session listen to the notifications for workers.
SELECT taskq_listen();

-- name: PingSession :exec
-- A sign of life: a session that only listens would not notice that nothing reaches it any more.
SELECT 1;

-- name: GetServerTime :one
-- For what is meant as long ago, or in so long: the clocks of clients differ from the one that jobs go by.
SELECT clock_timestamp()::timestamptz AS server_time;
