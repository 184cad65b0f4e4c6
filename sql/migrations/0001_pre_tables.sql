-- The tables, their indexes and views. What is done with them is in the files that follow, one concern each.
--
-- Objects carry no namespace: taskq lives in whichever one search_path names when this file runs.

CREATE TYPE taskq_job_status AS ENUM (
    'todo',
    'doing',
    'succeeded',
    'failed',
    'cancelled',
    'aborted'
);

COMMENT ON TYPE taskq_job_status IS
    'Where a job stands: todo and doing are alive, the other four are final.';


CREATE TABLE taskq_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE taskq_migrations IS 'The migrations that this database has.';
COMMENT ON COLUMN taskq_migrations.version IS 'The number that the name of the migration''s file starts with.';
COMMENT ON COLUMN taskq_migrations.name IS 'The name of the migration''s file.';
COMMENT ON COLUMN taskq_migrations.checksum IS 'SHA-256 of the file as it was applied, in hexadecimal.';
COMMENT ON COLUMN taskq_migrations.applied_at IS 'When it was applied.';


CREATE TABLE taskq_workers (
    -- Random: a sequence would give the same id again in a database that was made anew, or restored from an
    -- older dump, while its worker goes on. 52 bits, which JSON carries exactly; of a version 4 UUID the first
    -- digit and the last twelve are random, the ones between partly fixed.
    id bigint PRIMARY KEY DEFAULT (
        1 + ('x' || left(gen_random_uuid()::text, 1) || right(gen_random_uuid()::text, 12))::bit(52)::bigint
    ),
    name text NOT NULL,
    queue_names text [],
    concurrency integer NOT NULL DEFAULT 1,
    stopping boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    last_heartbeat timestamptz NOT NULL DEFAULT now(),
    host text,
    version text,
    -- Others compare and subtract these: what Python cannot read, or is no time, would stop them all.
    CONSTRAINT taskq_workers_years CHECK (
        started_at >= '0002-01-01T00:00:00Z' AND started_at < '9999-01-01T00:00:00Z'
        AND last_heartbeat >= '0002-01-01T00:00:00Z' AND last_heartbeat < '9999-01-01T00:00:00Z'
    ),
    CONSTRAINT taskq_workers_queue_names_is_list CHECK (
        CASE
            WHEN array_ndims(queue_names) > 1 THEN false
            ELSE array_position(queue_names, null) IS NULL
        END
    )
);

COMMENT ON TABLE taskq_workers IS 'The workers that are alive, or were when they last said so.';
COMMENT ON COLUMN taskq_workers.name IS 'The name it was given; several workers may share one.';
COMMENT ON COLUMN taskq_workers.queue_names IS 'The queues it serves; null: all of them.';
COMMENT ON COLUMN taskq_workers.id IS 'Drawn at random, so that none comes twice.';
COMMENT ON COLUMN taskq_workers.concurrency IS 'How many jobs it runs at once.';
COMMENT ON COLUMN taskq_workers.stopping IS 'Whether it was asked to stop: if it dies now, no job has killed it.';
COMMENT ON COLUMN taskq_workers.started_at IS 'When it registered.';
COMMENT ON COLUMN taskq_workers.last_heartbeat IS 'When it last said that it is alive.';
COMMENT ON COLUMN taskq_workers.host IS 'The name of the machine that it runs on; null: it has not said.';
COMMENT ON COLUMN taskq_workers.version IS 'The version of taskq that it runs; null: it has not said.';


CREATE TABLE taskq_jobs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    deferred_at timestamptz NOT NULL DEFAULT now(),
    scheduled_at timestamptz,
    started_at timestamptz,
    finished_at timestamptz,
    -- No foreign key: it would lock the worker's row at each claim, and make a worker that ran a
    -- million jobs pay for all of them when it unregisters.
    worker_id bigint,
    priority integer NOT NULL DEFAULT 0,
    claim integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    -- Null, as it is for nearly all: then it takes no room, and no WAL.
    given_back integer,
    -- Likewise null or true.
    paused boolean,
    abort_requested boolean NOT NULL DEFAULT false,
    status taskq_job_status NOT NULL DEFAULT 'todo',
    due boolean NOT NULL DEFAULT true,
    -- These are in indexes, and claims go along them from name to name. By bytes their order is the same in every
    -- database, and stays so when a library of the system's changes the order of a language.
    queue_name text COLLATE "C" NOT NULL,
    task_name text COLLATE "C" NOT NULL,
    lock text COLLATE "C",
    queueing_lock text COLLATE "C",
    -- Null, as these are for nearly all. Their lengths taskq_defer_jobs checks: a constraint would be looked at for
    -- each insert and update of those without one, too.
    idempotency_key text COLLATE "C",
    limit_key text COLLATE "C",
    args jsonb NOT NULL,
    result jsonb,
    -- Null, as they are for nearly all: then they take no room, and no WAL. No index on the tags: a job would have
    -- an entry in it for each of them, and new ones with every update of the job, for lists that scan a bounded
    -- number of jobs in any case.
    metadata jsonb,
    tags text [],
    -- Null, too, unless the job is waited for. Not a table of those who wait, which each end of a job would have
    -- to look into.
    awaited boolean,
    -- Null, too, unless its task reports how far it is.
    progress jsonb,
    -- Null, too, as most may begin whenever there is room. Its years taskq_defer_jobs checks.
    expires_at timestamptz,
    -- 500 characters are at most 2,000 bytes: what an index entry and a notification can carry.
    CONSTRAINT taskq_jobs_queue_name_length CHECK (char_length(queue_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_jobs_task_name_length CHECK (char_length(task_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_jobs_lock_length CHECK (char_length(lock) BETWEEN 1 AND 500),
    CONSTRAINT taskq_jobs_queueing_lock_length CHECK (char_length(queueing_lock) BETWEEN 1 AND 500),
    -- A worker that claims a time beyond Python's years, or infinity, cannot read what it has claimed.
    CONSTRAINT taskq_jobs_scheduled_at_years CHECK (
        scheduled_at >= '0002-01-01T00:00:00Z' AND scheduled_at < '9999-01-01T00:00:00Z'
    ),
    CONSTRAINT taskq_jobs_args_is_object CHECK (jsonb_typeof(args) = 'object'),
    -- No null among them, nor arrays: a claim would break over it. All else about them taskq_defer_jobs checks.
    CONSTRAINT taskq_jobs_tags_is_list CHECK (array_position(tags, null) IS NULL),
    -- These would never move: one for later without a time, one that runs without a worker. Whatever else no
    -- statement of taskq's writes (a counter at its end, a time that Python cannot read) is read and claimed for
    -- what it is: each comparison here makes every insert and every update of a row 2 to 3 % slower.
    CONSTRAINT taskq_jobs_later_has_time CHECK (due OR scheduled_at IS NOT NULL),
    CONSTRAINT taskq_jobs_doing_has_worker CHECK (status <> 'doing' OR worker_id IS NOT NULL)
);

COMMENT ON TABLE taskq_jobs IS
    'One row per job: the launching of one task with given argument values. '
    'Rows enter through taskq_defer_jobs and no other way.';
COMMENT ON COLUMN taskq_jobs.id IS 'Also the defer order, which need not be the order of commits.';
COMMENT ON COLUMN taskq_jobs.deferred_at IS 'When the transaction that deferred it began.';
COMMENT ON COLUMN taskq_jobs.scheduled_at IS 'It does not start before; null: at once.';
COMMENT ON COLUMN taskq_jobs.started_at IS 'When its latest attempt was claimed.';
COMMENT ON COLUMN taskq_jobs.finished_at IS 'When it reached a final status.';
COMMENT ON COLUMN taskq_jobs.worker_id IS
    'The worker of its latest attempt. With claim the fencing token: a worker that no longer '
    'matches both may not write to the job.';
COMMENT ON COLUMN taskq_jobs.priority IS 'Higher first.';
COMMENT ON COLUMN taskq_jobs.claim IS
    'How many times it was claimed: only a claim changes it, by one. As far as a billion, like the next two.';
COMMENT ON COLUMN taskq_jobs.attempt IS
    'The number of its latest attempt, from 1, as a retry strategy counts: each claim adds one, and a job '
    'that snoozes, or is given back before it began, takes it off again.';
COMMENT ON COLUMN taskq_jobs.crashes IS
    'How many of its claims ended with the death of the worker while the job may have been running.';
COMMENT ON COLUMN taskq_jobs.given_back IS
    'How many of its claims, the latest ones, were given back by workers that did not know the task or '
    'the name of an argument; null: none. A worker that begins it, a retry and a '
    'rescheduling by hand let the count begin anew.';
COMMENT ON COLUMN taskq_jobs.abort_requested IS 'Whether the worker that runs it is asked to abort it.';
COMMENT ON COLUMN taskq_jobs.status IS 'Where it stands.';
COMMENT ON COLUMN taskq_jobs.due IS
    'Whether its time has come, as of the latest check: PromoteJobs sets it. Jobs that are '
    'scheduled for later stay out of the indexes that a claim reads.';
COMMENT ON COLUMN taskq_jobs.queue_name IS 'Where it awaits execution.';
COMMENT ON COLUMN taskq_jobs.task_name IS 'The name of the task that it launches.';
COMMENT ON COLUMN taskq_jobs.lock IS
    'Jobs with the same lock run one at a time, by priority (descending), then id.';
COMMENT ON COLUMN taskq_jobs.queueing_lock IS 'No two jobs with the same one are todo at once.';
COMMENT ON COLUMN taskq_jobs.idempotency_key IS
    'While this job is kept, in whatever status, deferring with the same one answers its id; null: none.';
COMMENT ON COLUMN taskq_jobs.limit_key IS
    'The limit that it counts in, as in stripe, or tenant:acme for a limit with a room for each key; null: none.';
COMMENT ON COLUMN taskq_jobs.paused IS
    'True: its task is paused, as a claim has found that came to it. Null: not known to be.';
COMMENT ON COLUMN taskq_jobs.args IS 'The keyword arguments, by name.';
COMMENT ON COLUMN taskq_jobs.result IS 'What the task returned, if it stores its result.';
COMMENT ON COLUMN taskq_jobs.metadata IS 'What its deferrer notes about it, an object; null: nothing.';
COMMENT ON COLUMN taskq_jobs.tags IS 'By which it can be listed, each once; null: none.';
COMMENT ON COLUMN taskq_jobs.awaited IS
    'Whether its end is notified, as it is or was waited for; null: it is not.';
COMMENT ON COLUMN taskq_jobs.expires_at IS
    'By when it is to begin: one that has not ends as cancelled. A claim counts as the beginning, unless the job goes '
    'back before its task was called; what is to run again after it has begun has none any more. Null: whenever.';
COMMENT ON COLUMN taskq_jobs.progress IS
    'How far it is, an object: done, total, message, the claim that has reported it, and reported_at; '
    'null: none has.';

-- What a claim reads of the jobs without a lock and without a limit. Those that are finished, for later, paused or in
-- other queues cost it nothing, however many there are.
CREATE INDEX taskq_jobs_ready ON taskq_jobs (queue_name, priority DESC, id)
WHERE status = 'todo' AND due AND lock IS NULL AND limit_key IS NULL AND paused IS NULL;

CREATE VIEW taskq_ready AS
SELECT
    job.id,
    job.queue_name,
    job.priority,
    job.task_name
FROM taskq_jobs AS job
WHERE
    job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key IS NULL
    AND job.paused IS NULL;

COMMENT ON VIEW taskq_ready IS 'The jobs that nothing keeps from being claimed: what taskq_jobs_ready has.';

-- The jobs of a lock in their order. The first, due or not, is the head, which holds the others.
CREATE INDEX taskq_jobs_lock ON taskq_jobs (lock, priority DESC, id)
WHERE status = 'todo' AND lock IS NOT NULL;

-- The jobs of a limit without a lock that nothing else bars. One with a lock has a gate at the limit, when it comes
-- first in its lock.
CREATE INDEX taskq_jobs_limit ON taskq_jobs (limit_key, queue_name, priority DESC, id)
WHERE status = 'todo' AND due AND lock IS NULL AND limit_key IS NOT NULL AND paused IS NULL;

CREATE VIEW taskq_limited AS
SELECT
    job.id,
    job.limit_key,
    job.queue_name,
    job.priority
FROM taskq_jobs AS job
WHERE
    job.status = 'todo' AND job.due AND job.lock IS NULL AND job.limit_key IS NOT NULL
    AND job.paused IS NULL;

COMMENT ON VIEW taskq_limited IS 'The jobs that wait for a limit and for nothing else: what taskq_jobs_limit has.';

-- What is to be let in when a task is resumed.
CREATE INDEX taskq_jobs_paused ON taskq_jobs (task_name)
WHERE status = 'todo' AND paused;

CREATE INDEX taskq_jobs_later ON taskq_jobs (scheduled_at)
WHERE status = 'todo' AND NOT due;

-- What is to be cancelled when its time is over. A job without one never enters it.
CREATE INDEX taskq_jobs_expiry ON taskq_jobs (expires_at)
WHERE status = 'todo' AND expires_at IS NOT NULL;

-- For pages of those that wait and are not in the index of ready jobs, in the order of ids: 65 bytes of WAL for a
-- job for later, with a lock or with a limit. Any other never enters it.
CREATE INDEX taskq_jobs_waiting_id ON taskq_jobs (id)
WHERE status = 'todo' AND (NOT due OR lock IS NOT NULL OR limit_key IS NOT NULL OR paused);

CREATE UNIQUE INDEX taskq_jobs_queueing_lock ON taskq_jobs (queueing_lock)
WHERE status = 'todo' AND queueing_lock IS NOT NULL;

-- A job without a key never enters it, and writes as much WAL as without it.
CREATE UNIQUE INDEX taskq_jobs_idempotency_key ON taskq_jobs (idempotency_key)
WHERE idempotency_key IS NOT NULL;

-- What a worker has in hand, for the rescue of a dead one.
CREATE INDEX taskq_jobs_doing ON taskq_jobs (worker_id)
WHERE status = 'doing';

-- Whether a lock is held, and what counts in a limit. A range, and not one value: a query that says the same has no
-- other index to go by. Where the planner has seen nothing run, it takes taskq_jobs_doing for as good, by which it
-- reads all that runs for each lock: 20,000 jobs of 1,000 locks were drained at half the pace.
CREATE INDEX taskq_jobs_lock_held ON taskq_jobs (lock)
WHERE status BETWEEN 'doing' AND 'doing' AND lock IS NOT NULL;

CREATE INDEX taskq_jobs_limit_held ON taskq_jobs (limit_key)
WHERE status BETWEEN 'doing' AND 'doing' AND limit_key IS NOT NULL;

-- What an operator lists, counts or retries. A job that succeeds never enters it, and writes as much WAL
-- as without it (1,023 bytes in its life).
CREATE INDEX taskq_jobs_unsuccessful ON taskq_jobs (status, id)
WHERE status IN ('failed', 'cancelled', 'aborted');

-- When jobs ended, of one in 32: for figures of the last hour beside millions. All of them would cost each job 65 bytes
-- of WAL; so it is 2 on an average. By a hash, as what is deferred in turns has a pattern in its ids. An eighth of them
-- is in the next tier, an eighth of those in the one after it, and so on: whatever ends in a minute, a few can be read
-- of it that stand for all.
CREATE INDEX taskq_jobs_sample ON taskq_jobs (
    (
        CASE
            WHEN (hashint8(id) & 255) <> 0 THEN 0
            WHEN (hashint8(id) & 2047) <> 0 THEN 1
            WHEN (hashint8(id) & 16383) <> 0 THEN 2
            ELSE 3
        END
    ),
    finished_at
)
WHERE finished_at IS NOT NULL AND (hashint8(id) & 31) = 0;


-- Jobs with a lock are not in the index of ready jobs, so that a claim never meets those that wait for another.
-- It comes to them by this table, in the same order. No unique key: what is deferred in a transaction that stays
-- open must not make others wait that open the same lock.
CREATE TABLE taskq_open_gates (
    queue_name text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    job_id bigint NOT NULL,
    lock text COLLATE "C" NOT NULL,
    limit_key text COLLATE "C"
);

COMMENT ON TABLE taskq_open_gates IS
    'Locks that may be free for a job that waits: the next claim that comes to the place of one decides. '
    'A lock is in it after whatever could let a job in (a job is deferred or becomes due, one that held the '
    'lock or came first has ended), more than once if several things have happened.';
COMMENT ON COLUMN taskq_open_gates.queue_name IS 'The queue of the job that came first in the lock when it was opened.';
COMMENT ON COLUMN taskq_open_gates.priority IS 'The priority of that job.';
COMMENT ON COLUMN taskq_open_gates.job_id IS 'That job.';
COMMENT ON COLUMN taskq_open_gates.lock IS 'The lock.';
COMMENT ON COLUMN taskq_open_gates.limit_key IS
    'The limit in which that job has to have room: it is claimed with those that wait there. Null: not known yet, or '
    'none.';

CREATE INDEX taskq_open_gates_place ON taskq_open_gates (queue_name, priority DESC, job_id)
WHERE limit_key IS NULL;

CREATE INDEX taskq_open_gates_limit ON taskq_open_gates (limit_key, queue_name, priority DESC, job_id)
WHERE limit_key IS NOT NULL;


CREATE TABLE taskq_limits (
    limit_key text COLLATE "C" NOT NULL,
    by_operator boolean NOT NULL,
    concurrency integer,
    rate integer,
    per double precision,
    burst integer,
    declared_by text,
    declared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (limit_key, by_operator),
    CONSTRAINT taskq_limits_key_length CHECK (char_length(limit_key) BETWEEN 1 AND 500),
    CONSTRAINT taskq_limits_declared_by_length CHECK (char_length(declared_by) BETWEEN 1 AND 500),
    CONSTRAINT taskq_limits_concurrency CHECK (concurrency >= 1),
    CONSTRAINT taskq_limits_rate CHECK (
        num_nulls(rate, per, burst) IN (0, 3) AND rate >= 1 AND burst >= 1 AND per > 0 AND per <= 3153600000
    ),
    CONSTRAINT taskq_limits_says_something CHECK (concurrency IS NOT NULL OR rate IS NOT NULL),
    CONSTRAINT taskq_limits_years CHECK (
        declared_at >= '0002-01-01T00:00:00Z' AND declared_at < '9999-01-01T00:00:00Z'
    )
);

COMMENT ON TABLE taskq_limits IS
    'What limits allow: an app''s are written when its worker starts, an operator''s go before them. Of one key of a '
    'limit, what is said of it goes before what is said of all. A figure that is null stays what it is otherwise.';
COMMENT ON COLUMN taskq_limits.limit_key IS 'The name of the limit, as in tenant; or one key of it, as in tenant:acme.';
COMMENT ON COLUMN taskq_limits.by_operator IS 'Whether an operator said it, or an app.';
COMMENT ON COLUMN taskq_limits.concurrency IS 'How many jobs may run at once.';
COMMENT ON COLUMN taskq_limits.rate IS 'How many jobs may start within per seconds.';
COMMENT ON COLUMN taskq_limits.per IS 'In seconds.';
COMMENT ON COLUMN taskq_limits.burst IS 'How many of these may start at once, after a time without any.';
COMMENT ON COLUMN taskq_limits.declared_by IS 'Which worker''s app, or which operator; null: not given.';
COMMENT ON COLUMN taskq_limits.declared_at IS 'When it was declared last.';


CREATE TABLE taskq_queue_limits (
    queue_name text COLLATE "C" PRIMARY KEY,
    limit_key text COLLATE "C" NOT NULL,
    declared_by text,
    declared_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT taskq_queue_limits_queue_name_length CHECK (char_length(queue_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_queue_limits_key_length CHECK (char_length(limit_key) BETWEEN 1 AND 500)
);

CREATE INDEX taskq_queue_limits_key ON taskq_queue_limits (limit_key);

COMMENT ON TABLE taskq_queue_limits IS
    'The limits in which all jobs of a queue count, beside the one that a job may have of its own.';
COMMENT ON COLUMN taskq_queue_limits.queue_name IS 'The queue.';
COMMENT ON COLUMN taskq_queue_limits.limit_key IS 'The name of the limit.';
COMMENT ON COLUMN taskq_queue_limits.declared_by IS 'Which worker''s app declared it.';
COMMENT ON COLUMN taskq_queue_limits.declared_at IS 'When it was declared last.';


-- Few rows, which are written again and again: room for new versions on the same page.
CREATE TABLE taskq_limit_rates (
    limit_key text COLLATE "C" PRIMARY KEY,
    spent_until timestamptz NOT NULL,
    -- Claims and lists subtract it, which is an error of infinity before PostgreSQL 17, for all other limits too.
    CONSTRAINT taskq_limit_rates_is_time CHECK (isfinite(spent_until))
) WITH (fillfactor = 50);

COMMENT ON TABLE taskq_limit_rates IS
    'How far the limits with a rate are used up, by the generic cell rate algorithm. No row: not at all.';
COMMENT ON COLUMN taskq_limit_rates.limit_key IS 'The limit.';
COMMENT ON COLUMN taskq_limit_rates.spent_until IS
    'When all would be allowed again that may start at once; each start puts it off by the time for one.';


-- What taskq_open_gates is for locks. The jobs of one limit may be in several queues, and do not hold one another.
CREATE TABLE taskq_limit_gates (
    queue_name text COLLATE "C" NOT NULL,
    priority integer NOT NULL,
    turn bigint NOT NULL,
    limit_key text COLLATE "C" NOT NULL,
    open_at timestamptz,
    tokens integer,
    claimed_at timestamptz,
    CONSTRAINT taskq_limit_gates_is_time CHECK (isfinite(claimed_at))
);

COMMENT ON TABLE taskq_limit_gates IS
    'Limits that may have room for a job that waits in a queue: the next claim that comes to the place of one decides.';
COMMENT ON COLUMN taskq_limit_gates.queue_name IS 'The queue of jobs that wait.';
COMMENT ON COLUMN taskq_limit_gates.priority IS 'The priority of the first of them.';
COMMENT ON COLUMN taskq_limit_gates.turn IS
    'When it was opened, in microseconds since 1970: of one priority, limits are taken in turn.';
COMMENT ON COLUMN taskq_limit_gates.limit_key IS 'The limit.';
COMMENT ON COLUMN taskq_limit_gates.open_at IS 'When its rate lets the next one start; null: it is open.';
COMMENT ON COLUMN taskq_limit_gates.tokens IS
    'How many starts its rate gets back, of jobs that did not begin; null: none.';
COMMENT ON COLUMN taskq_limit_gates.claimed_at IS
    'When they were claimed, the first of them: as far as that is less than the time for one ago.';

CREATE INDEX taskq_limit_gates_place ON taskq_limit_gates (queue_name, priority DESC, turn)
WHERE open_at IS NULL;

CREATE INDEX taskq_limit_gates_key ON taskq_limit_gates (limit_key, queue_name);

CREATE INDEX taskq_limit_gates_tokens ON taskq_limit_gates (limit_key)
WHERE tokens IS NOT NULL;

CREATE INDEX taskq_limit_gates_later ON taskq_limit_gates (open_at)
WHERE open_at IS NOT NULL;


CREATE TABLE taskq_pauses (
    kind text NOT NULL,
    name text COLLATE "C" NOT NULL,
    paused_at timestamptz NOT NULL DEFAULT now(),
    paused_by text,
    reason text,
    PRIMARY KEY (kind, name),
    CONSTRAINT taskq_pauses_kind CHECK (kind IN ('queue', 'task')),
    CONSTRAINT taskq_pauses_name_length CHECK (char_length(name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_pauses_paused_by_length CHECK (char_length(paused_by) BETWEEN 1 AND 500),
    CONSTRAINT taskq_pauses_reason_length CHECK (char_length(reason) BETWEEN 1 AND 500),
    CONSTRAINT taskq_pauses_years CHECK (
        paused_at >= '0002-01-01T00:00:00Z' AND paused_at < '9999-01-01T00:00:00Z'
    )
);

COMMENT ON TABLE taskq_pauses IS
    'What is paused: no claim that begins after a row was committed takes a job of it, until the row is deleted.';
COMMENT ON COLUMN taskq_pauses.kind IS 'What kind of thing is paused: a queue or a task.';
COMMENT ON COLUMN taskq_pauses.name IS 'Its name; there need not be jobs of it.';
COMMENT ON COLUMN taskq_pauses.paused_at IS 'When it was paused.';
COMMENT ON COLUMN taskq_pauses.paused_by IS 'Who paused it, as given with the pause; null: not given.';
COMMENT ON COLUMN taskq_pauses.reason IS 'Why; null: not given.';


CREATE TABLE taskq_subscriptions (
    event text COLLATE "C" NOT NULL,
    task_name text COLLATE "C" NOT NULL,
    queue_name text COLLATE "C" NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',
    limit_by jsonb,
    declared_by text,
    declared_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event, task_name),
    CONSTRAINT taskq_subscriptions_event_length CHECK (char_length(event) BETWEEN 1 AND 500),
    CONSTRAINT taskq_subscriptions_task_name_length CHECK (char_length(task_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_subscriptions_queue_name_length CHECK (char_length(queue_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_subscriptions_options_object CHECK (jsonb_typeof(options) = 'object'),
    CONSTRAINT taskq_subscriptions_limit_by_array CHECK (jsonb_typeof(limit_by) = 'array'),
    CONSTRAINT taskq_subscriptions_declared_by_length CHECK (char_length(declared_by) BETWEEN 1 AND 500),
    CONSTRAINT taskq_subscriptions_years CHECK (
        declared_at >= '0002-01-01T00:00:00Z' AND declared_at < '9999-01-01T00:00:00Z'
    )
);

COMMENT ON TABLE taskq_subscriptions IS
    'Which tasks get a job for each event that is published: written when a worker of their app starts, and deleted by '
    'hand alone.';
COMMENT ON COLUMN taskq_subscriptions.event IS 'The name of the event.';
COMMENT ON COLUMN taskq_subscriptions.task_name IS 'The task.';
COMMENT ON COLUMN taskq_subscriptions.queue_name IS 'The queue that its jobs go to.';
COMMENT ON COLUMN taskq_subscriptions.options IS
    'What else its jobs have: keys of a job as taskq_defer_jobs takes them.';
COMMENT ON COLUMN taskq_subscriptions.limit_by IS
    'The arguments by whose values its limit has a room each, in order: objects with argument, and default if the task '
    'has one, as the text that a key has of it; null: there is one room for all.';
COMMENT ON COLUMN taskq_subscriptions.declared_by IS 'Which worker''s app declared it last.';
COMMENT ON COLUMN taskq_subscriptions.declared_at IS 'When it was declared first, or otherwise than before.';


CREATE TABLE taskq_failed_attempts (
    job_id bigint NOT NULL REFERENCES taskq_jobs (id) ON DELETE CASCADE,
    claim integer NOT NULL,
    attempt integer NOT NULL,
    worker_id bigint NOT NULL,
    failed_at timestamptz NOT NULL DEFAULT now(),
    error_type text NOT NULL,
    error_message text NOT NULL,
    error_traceback text NOT NULL,
    started_at timestamptz,
    PRIMARY KEY (job_id, claim)
);

COMMENT ON TABLE taskq_failed_attempts IS 'Why, when and where an attempt failed; one row per attempt that did.';
COMMENT ON COLUMN taskq_failed_attempts.job_id IS 'The job.';
COMMENT ON COLUMN taskq_failed_attempts.claim IS 'Which claim of the job it was, from 1.';
COMMENT ON COLUMN taskq_failed_attempts.attempt IS
    'The number of the attempt: twice the same if the first of them was not used up.';
COMMENT ON COLUMN taskq_failed_attempts.worker_id IS 'The worker that ran it.';
COMMENT ON COLUMN taskq_failed_attempts.failed_at IS 'When the failure was written.';
COMMENT ON COLUMN taskq_failed_attempts.error_type IS 'The exception''s class, with its module.';
COMMENT ON COLUMN taskq_failed_attempts.error_message IS 'The exception''s message.';
COMMENT ON COLUMN taskq_failed_attempts.error_traceback IS 'The traceback, as Python prints it.';
COMMENT ON COLUMN taskq_failed_attempts.started_at IS 'When the attempt was claimed; null: not known.';


CREATE TABLE taskq_periodic (
    task_name text NOT NULL,
    periodic_id text NOT NULL,
    last_tick bigint,
    known_since bigint NOT NULL DEFAULT floor(extract(EPOCH FROM now())),
    schedule text,
    PRIMARY KEY (task_name, periodic_id),
    -- The years 2 to 9998.
    CONSTRAINT taskq_periodic_years CHECK (
        last_tick >= -62104060800 AND last_tick < 253370764800
        AND known_since >= -62104060800 AND known_since < 253370764800
    )
);

COMMENT ON TABLE taskq_periodic IS
    'How far each periodic task has been deferred: what keeps many workers from deferring a tick twice. '
    'A row stays when its task is gone.';
COMMENT ON COLUMN taskq_periodic.task_name IS 'The task.';
COMMENT ON COLUMN taskq_periodic.periodic_id IS 'Which of its periods, if it has several.';
COMMENT ON COLUMN taskq_periodic.last_tick IS
    'The last tick that was deferred, in seconds since 1970; null: none was.';
COMMENT ON COLUMN taskq_periodic.known_since IS
    'When a worker first started with this schedule, in seconds since 1970: no earlier tick is made up for.';
COMMENT ON COLUMN taskq_periodic.schedule IS
    'The cron expression and the time zone of the worker that started last; null: none has said.';


CREATE TABLE taskq_retention (
    single boolean PRIMARY KEY DEFAULT true,
    worker_id bigint NOT NULL,
    leased_until timestamptz NOT NULL,
    CONSTRAINT taskq_retention_single CHECK (single),
    CONSTRAINT taskq_retention_years CHECK (
        leased_until >= '0002-01-01T00:00:00Z' AND leased_until < '9999-01-01T00:00:00Z'
    )
);

COMMENT ON TABLE taskq_retention IS
    'Which worker deletes jobs that are kept no longer: one row, once a worker does.';
COMMENT ON COLUMN taskq_retention.single IS 'True, as there is one row.';
COMMENT ON COLUMN taskq_retention.worker_id IS 'The worker.';
COMMENT ON COLUMN taskq_retention.leased_until IS 'Then another worker may take over.';
