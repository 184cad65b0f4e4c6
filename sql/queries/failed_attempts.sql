-- name: ListFailedAttempts :many
SELECT * FROM taskq_failed_attempts
WHERE job_id = @job_id::bigint
ORDER BY attempt;
