-- name: DeferJobs :many
-- The one way in; whatever is checked is checked there, for every caller alike. 0 is in the place of a
-- job that was skipped, as sqlc takes the column for not null.
SELECT coalesce(deferred.id, 0)::bigint AS id
FROM taskq_defer_jobs(
    @jobs::jsonb, @on_conflict::text, @share_notification::boolean, @numbers_checked::boolean
) AS deferred (id);
