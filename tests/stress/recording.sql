-- What the stress test records: each version of a job, written in the transaction that makes it, and the runs.

CREATE TABLE stress_versions (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    job_id bigint NOT NULL,
    status text NOT NULL,
    queue text NOT NULL,
    lock text,
    limit_key text,
    priority integer NOT NULL,
    due_at timestamptz,
    expires_at timestamptz,
    claim integer NOT NULL,
    worker_id bigint,
    abort_requested boolean NOT NULL,
    script jsonb NOT NULL,
    process text NOT NULL,
    transaction xid8 NOT NULL,
    began timestamptz NOT NULL,
    snapshot pg_snapshot NOT NULL,
    at timestamptz NOT NULL
);

-- Without a step: it begins; with one: it ends.
CREATE TABLE stress_runs (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    job_id bigint NOT NULL,
    claim integer NOT NULL,
    worker_id bigint NOT NULL,
    process text NOT NULL,
    pid integer NOT NULL,
    lock text,
    priority integer NOT NULL,
    key text,
    step text
);

-- What attempts did in their own transactions.
CREATE TABLE stress_effects (job_id bigint NOT NULL, claim integer NOT NULL);

-- How many of the statements that change a job take longer, from 0 to 1.
CREATE TABLE stress_linger (share double precision NOT NULL);
INSERT INTO stress_linger VALUES (0);

-- Some statements and transactions take longer than others: what happens between two moments of one of them
-- may then happen in it.
CREATE FUNCTION stress_linger() RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    IF random() < (SELECT stress_linger.share FROM stress_linger) THEN
        PERFORM pg_sleep(random() * 0.02);
    END IF;
END;
$$;

CREATE FUNCTION stress_record() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    job taskq_jobs;
BEGIN
    job := CASE WHEN TG_OP = 'DELETE' THEN old ELSE new END;

    -- The clock is read after the snapshot was taken.
    INSERT INTO stress_versions (
        job_id, status, queue, lock, limit_key, priority, due_at, expires_at, claim, worker_id, abort_requested,
        script, process, transaction, began, snapshot, at
    )
    VALUES (
        job.id,
        CASE WHEN TG_OP = 'DELETE' THEN 'deleted' ELSE job.status::text END,
        job.queue_name,
        job.lock,
        job.limit_key,
        job.priority,
        job.scheduled_at,
        job.expires_at,
        job.claim,
        job.worker_id,
        job.abort_requested,
        -- What is encrypted has it beside its arguments.
        coalesce(job.args -> 'script', job.metadata -> 'script'),
        current_setting('application_name'),
        pg_current_xact_id(),
        transaction_timestamp(),
        pg_current_snapshot(),
        clock_timestamp()
    );
    PERFORM stress_linger();
    RETURN null;
END;
$$;

CREATE TRIGGER stress_record AFTER INSERT OR UPDATE OR DELETE ON taskq_jobs
FOR EACH ROW EXECUTE FUNCTION stress_record();

-- After the statement's snapshot was taken, and before it has read or locked anything for what it changes.
CREATE FUNCTION stress_hold_up() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM stress_linger();
    RETURN null;
END;
$$;

CREATE TRIGGER stress_hold_up BEFORE INSERT OR UPDATE OR DELETE ON taskq_jobs
FOR EACH STATEMENT EXECUTE FUNCTION stress_hold_up();

-- Between the locks of one row and of the next.
CREATE FUNCTION stress_hold_on() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    PERFORM stress_linger();
    RETURN CASE WHEN TG_OP = 'DELETE' THEN old ELSE new END;
END;
$$;

CREATE TRIGGER stress_hold_on BEFORE UPDATE OR DELETE ON taskq_jobs
FOR EACH ROW EXECUTE FUNCTION stress_hold_on();
