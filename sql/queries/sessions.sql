-- name: TuneSession :exec
-- For a connection that claims: the planner's guesses about the claim's hops are far too high, and
-- just-in-time compilation and planning for each call cost more than the claim.
SELECT
    set_config('jit', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false);

-- name: ListenSession :exec
-- Makes the session hear the notifications for workers.
SELECT taskq_listen();
