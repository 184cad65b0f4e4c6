-- name: LockMigrations :exec
-- Held to the end of the transaction: of many processes that migrate at once, one does the work and
-- the others find it done. The number is taskq's own and has no other meaning.
SELECT pg_advisory_xact_lock(7495021134821);

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

-- name: RecordMigration :exec
INSERT INTO taskq_migrations (version, name, checksum)
VALUES (@version::integer, @name::text, @checksum::text);
