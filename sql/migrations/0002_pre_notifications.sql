-- What workers, and those that wait for a job, are notified of.

-- Standard SQL body: the table is bound when the function is made, so the answer does not depend
-- on the search_path of the session that asks.
CREATE FUNCTION taskq_channel() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'taskq_' || 'taskq_jobs'::regclass::oid::text;
END;

COMMENT ON FUNCTION taskq_channel() IS
    'The channel on which workers are notified: one per installation, so that two namespaces '
    'of one database do not notify each other.';


CREATE FUNCTION taskq_incarnation() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT taskq_channel() || ' of ' || pg_database.oid::text
    FROM pg_catalog.pg_database
    WHERE pg_database.datname = current_database();
END;

COMMENT ON FUNCTION taskq_incarnation() IS
    'Which making of the database and of its tables this is: another one once either was dropped '
    'and made again, so that a worker notices that it is registered no more.';


-- LISTEN takes no parameter and no expression: hence a function that writes the statement.
CREATE FUNCTION taskq_listen() RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    EXECUTE format('LISTEN %I', taskq_channel());
END;
$$;

COMMENT ON FUNCTION taskq_listen() IS 'Makes the session listen on taskq_channel().';


CREATE FUNCTION taskq_abort(worker_id bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'abort ' || worker_id::text;
END;

COMMENT ON FUNCTION taskq_abort(bigint) IS
    'The notification that a worker runs a job that is to be aborted.';


CREATE FUNCTION taskq_pause(kind text, name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'pause-' || kind || ' ' || left(name, 500);
END;

COMMENT ON FUNCTION taskq_pause(text, text) IS
    'The notification that a queue or a task is paused: what workers have claimed of it and not begun goes back.';


CREATE FUNCTION taskq_ended(job_id bigint) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'ended ' || job_id::text;
END;

COMMENT ON FUNCTION taskq_ended(bigint) IS
    'The notification that a job which is waited for has ended, or was deleted.';


-- PostgreSQL refuses a notification of 8,000 bytes, and the statement with it: hence left(). The
-- transaction's number lets idle workers agree, without asking one another, on the one of them that claims at
-- once. This and the next two are planned as a part of the query that calls them.
CREATE FUNCTION taskq_notify(
    queue_name text, due boolean DEFAULT true, scheduled_at timestamptz DEFAULT null
) RETURNS void
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT
        pg_notify(
            taskq_channel(),
            CASE
                WHEN due THEN 'ready ' || pg_current_xact_id()::text
                ELSE 'later ' || extract(EPOCH FROM scheduled_at)::text
            END || ' ' || left(queue_name, 500)
        );
END;

COMMENT ON FUNCTION taskq_notify(text, boolean, timestamptz) IS
    'Notifies workers that a queue has a job to claim, or one for later, in seconds since 1970 by the '
    'server''s clock.';


-- In one place for each way to end: by a worker, an operator, the rescue, retention, or a statement by hand. A job
-- that is not waited for costs the check of a null: see docs/waiting.md for what was measured.
CREATE FUNCTION taskq_notify_ended() RETURNS trigger
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_notify(taskq_channel(), taskq_ended(OLD.id));
    RETURN null;
END;
$$;

COMMENT ON FUNCTION taskq_notify_ended() IS 'Notifies those who wait for a job that it has ended, or was deleted.';


CREATE TRIGGER taskq_jobs_ended
AFTER UPDATE OF status ON taskq_jobs
FOR EACH ROW
WHEN (old.awaited AND old.status IN ('todo', 'doing') AND new.status NOT IN ('todo', 'doing'))
EXECUTE FUNCTION taskq_notify_ended();


CREATE TRIGGER taskq_jobs_deleted
AFTER DELETE ON taskq_jobs
FOR EACH ROW
WHEN (old.awaited AND old.status IN ('todo', 'doing'))
EXECUTE FUNCTION taskq_notify_ended();
