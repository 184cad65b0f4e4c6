-- name: TuneSession :exec
-- For a connection that claims: the planner's guesses about the claim's hops are far too high, and
-- just-in-time compilation and planning for each call cost more than the claim.
SELECT
    set_config('jit', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false);

-- name: ListenSession :exec
-- Makes the session hear the notifications for workers.
SELECT taskq_listen();

-- name: BoundStatements :exec
-- For every connection of a worker: a statement that its worker has given up, on a connection that went
-- silent, would otherwise go on, and keep its locks, for as long as it likes.
SELECT set_config('statement_timeout', @milliseconds::text, false);

-- name: PingSession :exec
-- A sign of life: a session that only listens would not notice that nothing reaches it any more.
SELECT 1;

-- name: GetServerTime :one
-- For what is meant as long ago, or in so long: the clocks of clients differ from the one that jobs go by.
SELECT clock_timestamp()::timestamptz AS server_time;
