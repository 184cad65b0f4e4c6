-- The first schema: jobs, the locks they hold, workers, failed attempts, applied migrations.
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
    -- Null, too, unless somebody waits for the job. Not a table of those who wait, which each end of a job would have
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
    'Whether its end is notified, as somebody waits for it, or has; null: nobody does.';
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
    said_by text,
    said_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (limit_key, by_operator),
    CONSTRAINT taskq_limits_key_length CHECK (char_length(limit_key) BETWEEN 1 AND 500),
    CONSTRAINT taskq_limits_said_by_length CHECK (char_length(said_by) BETWEEN 1 AND 500),
    CONSTRAINT taskq_limits_concurrency CHECK (concurrency >= 1),
    CONSTRAINT taskq_limits_rate CHECK (
        num_nulls(rate, per, burst) IN (0, 3) AND rate >= 1 AND burst >= 1 AND per > 0 AND per <= 3153600000
    ),
    CONSTRAINT taskq_limits_says_something CHECK (concurrency IS NOT NULL OR rate IS NOT NULL),
    CONSTRAINT taskq_limits_years CHECK (
        said_at >= '0002-01-01T00:00:00Z' AND said_at < '9999-01-01T00:00:00Z'
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
COMMENT ON COLUMN taskq_limits.said_by IS 'Which worker''s app, or which operator; null: not given.';
COMMENT ON COLUMN taskq_limits.said_at IS 'When it was said last.';


CREATE TABLE taskq_queue_limits (
    queue_name text COLLATE "C" PRIMARY KEY,
    limit_key text COLLATE "C" NOT NULL,
    said_by text,
    said_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT taskq_queue_limits_queue_name_length CHECK (char_length(queue_name) BETWEEN 1 AND 500),
    CONSTRAINT taskq_queue_limits_key_length CHECK (char_length(limit_key) BETWEEN 1 AND 500)
);

CREATE INDEX taskq_queue_limits_key ON taskq_queue_limits (limit_key);

COMMENT ON TABLE taskq_queue_limits IS
    'The limits in which all jobs of a queue count, beside the one that a job may have of its own.';
COMMENT ON COLUMN taskq_queue_limits.queue_name IS 'The queue.';
COMMENT ON COLUMN taskq_queue_limits.limit_key IS 'The name of the limit.';
COMMENT ON COLUMN taskq_queue_limits.said_by IS 'Which worker''s app said so.';
COMMENT ON COLUMN taskq_queue_limits.said_at IS 'When it was said last.';


-- Few rows, which are written again and again: room for new versions on the same page.
CREATE TABLE taskq_limit_rates (
    limit_key text COLLATE "C" PRIMARY KEY,
    spent_until timestamptz NOT NULL
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
    tokens integer
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
COMMENT ON COLUMN taskq_subscriptions.declared_by IS 'Which worker''s app said so last.';
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

CREATE FUNCTION taskq_pause(queue_name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'pause ' || left(queue_name, 500);
END;

COMMENT ON FUNCTION taskq_pause(text) IS
    'The notification that a queue is paused: what workers have claimed of it and not begun goes back.';

CREATE FUNCTION taskq_pause_task(task_name text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT 'pause-task ' || left(task_name, 500);
END;

COMMENT ON FUNCTION taskq_pause_task(text) IS
    'The notification that a task is paused: what workers have claimed of it and not begun goes back.';

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


-- In one place for each way to end: by a worker, an operator, the rescue, retention, or somebody's hand. A job that
-- nobody waits for costs a look at a null: see docs/waiting.md for what was measured.
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


CREATE FUNCTION taskq_job_fits(
    status taskq_job_status, statuses taskq_job_status [],
    queue_name text, wanted_queue_name text,
    task_name text, wanted_task_name text,
    lock text, wanted_lock text,
    queueing_lock text, wanted_queueing_lock text,
    worker_id bigint, wanted_worker_id bigint,
    deferred_at timestamptz, deferred_after timestamptz, deferred_before timestamptz,
    finished_at timestamptz, finished_after timestamptz, finished_before timestamptz,
    args jsonb, wanted_args jsonb,
    tags text [], wanted_tags text []
) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        status = ANY(statuses)
        AND (wanted_queue_name IS NULL OR queue_name = wanted_queue_name)
        AND (wanted_task_name IS NULL OR task_name = wanted_task_name)
        AND (wanted_lock IS NULL OR lock = wanted_lock)
        AND (wanted_queueing_lock IS NULL OR queueing_lock = wanted_queueing_lock)
        AND (wanted_worker_id IS NULL OR worker_id = wanted_worker_id)
        AND (deferred_after IS NULL OR deferred_at >= deferred_after)
        AND (deferred_before IS NULL OR deferred_at < deferred_before)
        AND (finished_after IS NULL OR finished_at >= finished_after)
        AND (finished_before IS NULL OR finished_at < finished_before)
        AND (wanted_args IS NULL OR args @> wanted_args)
        AND (wanted_tags IS NULL OR tags @> wanted_tags);
END;

COMMENT ON FUNCTION taskq_job_fits IS
    'Whether a job fits every filter that is given: each of its values is followed by what is wanted of it, '
    'and null is a filter that is not given.';


-- Planned as a part of what calls it: one probe of an index.
CREATE FUNCTION taskq_lock_head(wanted text) RETURNS TABLE (
    id bigint, priority integer, queue_name text, due boolean, limit_key text
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        job.id,
        job.priority,
        job.queue_name,
        job.due AND job.paused IS NULL,
        job.limit_key
    FROM taskq_jobs AS job
    WHERE job.status = 'todo' AND job.lock = wanted
    ORDER BY job.lock, job.priority DESC, job.id
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_lock_head(text) IS
    'The first of the jobs that wait for a lock, due or not; no row: none waits. One that is paused is not due, '
    'either.';


-- Planned as a part of what calls it.
CREATE FUNCTION taskq_lock_holder(wanted text) RETURNS TABLE (id bigint, worker_id bigint)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        job.id,
        job.worker_id
    FROM taskq_jobs AS job
    WHERE job.status BETWEEN 'doing' AND 'doing' AND job.lock = wanted
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_lock_holder(text) IS 'A job that holds a lock; no row: none does.';


-- One probe for each lock, and none of its jobs is changed: the next claim decides. Volatile, and so a statement of
-- its own with a snapshot of its own, also within a statement that calls it: it sees what was committed after that
-- statement began, up to the moment when it had the rows that it changes. docs/gates.md has the argument.
CREATE FUNCTION taskq_open_locks(
    locks text [], notify boolean DEFAULT true, ended_by bigint DEFAULT null
) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH head AS MATERIALIZED (
        SELECT
            first.*,
            named.lock
        FROM (SELECT DISTINCT unnest(locks) COLLATE "C" AS lock) AS named
        CROSS JOIN LATERAL taskq_lock_head(named.lock) AS first
        WHERE
            NOT EXISTS (
                SELECT FROM taskq_lock_holder(named.lock) AS holder
                WHERE holder.worker_id = ended_by
            )
    ),

    -- Also if the first one is for later: another transaction, which cannot see this one's jobs, may just be taking it
    -- away. A claim finds out, and waits for neither.
    opened AS (
        INSERT INTO taskq_open_gates (queue_name, priority, job_id, lock)
        SELECT
            head.queue_name,
            head.priority,
            head.id,
            head.lock
        FROM head
    ),

    notified AS (
        SELECT taskq_notify(head.queue_name)
        FROM head
        WHERE notify AND head.due
        GROUP BY head.queue_name
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_open_locks(text [], boolean, bigint) IS
    'Has the next claim decide about these locks, if jobs wait for them. To be called in the transaction that '
    'changes a job with a lock, after the change and by the same statement or a later one. A worker that has ended '
    'some of the jobs by which it holds a lock, ended_by, opens it with the last of them.';


-- As CancelJobs ends them: one may have been the head of its lock. It waits for nothing: what another transaction has
-- locked is left to that, or to the next call. A statement of its own, as taskq_open_locks is.
CREATE FUNCTION taskq_expire_jobs(max_jobs integer) RETURNS TABLE (jobs bigint, opened bigint)
LANGUAGE sql VOLATILE ROWS 1
BEGIN ATOMIC
    WITH expired AS (
        UPDATE taskq_jobs
        SET
            status = 'cancelled',
            finished_at = now()
        WHERE
            taskq_jobs.status = 'todo'
            AND taskq_jobs.id = ANY(ARRAY(
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.expires_at <= now()
                ORDER BY job.expires_at
                LIMIT max_jobs
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING taskq_jobs.lock
    ),

    freed AS (
        SELECT taskq_open_locks(array_agg(expired.lock)) AS queues
        FROM expired
        WHERE expired.lock IS NOT NULL
        HAVING count(*) > 0
    )

    SELECT
        (SELECT count(*) FROM expired),
        (SELECT coalesce(sum(freed.queues), 0) FROM freed)::bigint;
END;

COMMENT ON FUNCTION taskq_expire_jobs(integer) IS
    'Cancels jobs that have not begun by their time, the earliest first; how many, and how many queues were notified '
    'of locks that went free.';


CREATE FUNCTION taskq_next_filled_queue(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        least(
            (
                SELECT job.queue_name
                FROM taskq_ready AS job
                WHERE job.queue_name > after
                ORDER BY job.queue_name, job.priority DESC, job.id
                LIMIT 1
            ),
            (
                SELECT gate.queue_name
                FROM taskq_open_gates AS gate
                WHERE gate.limit_key IS NULL AND gate.queue_name > after
                ORDER BY gate.queue_name, gate.priority DESC, gate.job_id
                LIMIT 1
            ),
            (
                SELECT gate.queue_name
                FROM taskq_limit_gates AS gate
                WHERE gate.open_at IS NULL AND gate.queue_name > after
                ORDER BY gate.queue_name, gate.priority DESC, gate.turn
                LIMIT 1
            )
        );
END;

COMMENT ON FUNCTION taskq_next_filled_queue(text) IS
    'The next queue after a name, by bytes, that has a ready job or an open gate, barred or not; null: none.';


-- Planned as a part of what calls it: three probes of an index.
CREATE FUNCTION taskq_limit_figures(wanted text) RETURNS TABLE (
    concurrency integer, rate integer, per double precision, burst integer
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        coalesce(own.concurrency, whole.concurrency, declared.concurrency),
        coalesce(own.rate, whole.rate, declared.rate),
        coalesce(own.per, whole.per, declared.per),
        coalesce(own.burst, whole.burst, declared.burst)
    FROM (SELECT split_part(wanted, ':', 1) AS name) AS named
    LEFT JOIN taskq_limits AS own ON own.limit_key = wanted AND own.by_operator
    LEFT JOIN taskq_limits AS whole ON named.name = whole.limit_key AND whole.by_operator
    LEFT JOIN taskq_limits AS declared ON named.name = declared.limit_key AND NOT declared.by_operator
    WHERE own.limit_key IS NOT NULL OR whole.limit_key IS NOT NULL OR declared.limit_key IS NOT NULL;
END;

COMMENT ON FUNCTION taskq_limit_figures(text) IS
    'What a limit allows one key, by whoever said so that goes before the others; no row: nobody has said anything.';


-- By the time of the transaction, which is also when the jobs that it claims start. In whole microseconds, and these
-- rounded up, so that a rate is never exceeded.
CREATE FUNCTION taskq_limit_state(wanted text) RETURNS TABLE (
    running bigint, room bigint, next_at timestamptz, pace interval
)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        held.running,
        CASE WHEN figures.burst IS NULL AND figures.concurrency IS NULL THEN 0 ELSE least(held.slots, spent.tokens) END,
        CASE WHEN held.slots > 0 AND spent.tokens = 0 THEN now() + spent.lead - (figures.burst - 1) * pace.step END,
        pace.step
    FROM (SELECT) AS always
    LEFT JOIN taskq_limit_figures(wanted) AS figures ON true
    CROSS JOIN LATERAL (
        SELECT
            counted.running,
            greatest(coalesce(figures.concurrency - counted.running, 2147483647), 0) AS slots
        FROM (
            SELECT
                (
                    SELECT count(*) FROM taskq_jobs AS job
                    WHERE job.status BETWEEN 'doing' AND 'doing' AND job.limit_key = wanted
                ) + coalesce(
                    (
                        SELECT sum(queue.running)
                        FROM taskq_queue_limits AS limited
                        CROSS JOIN LATERAL (
                            SELECT count(*) AS running FROM taskq_jobs AS job
                            WHERE
                                job.status = 'doing' AND job.queue_name = limited.queue_name
                                AND job.limit_key IS DISTINCT FROM wanted
                        ) AS queue
                        WHERE limited.limit_key = wanted
                    ),
                    0
                )::bigint AS running
            -- Else it is counted again for each column that needs it.
            OFFSET 0
        ) AS counted
    ) AS held
    CROSS JOIN LATERAL (
        SELECT make_interval(secs => ceil(figures.per * 1000000 / figures.rate) / 1000000) AS step
    ) AS pace
    LEFT JOIN taskq_limit_rates AS used ON used.limit_key = wanted
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(gate.tokens), 0) AS tokens
        FROM taskq_limit_gates AS gate
        WHERE gate.limit_key = wanted AND gate.tokens IS NOT NULL
        OFFSET 0
    ) AS returned
    CROSS JOIN LATERAL (
        SELECT
            ahead.lead,
            CASE
                WHEN figures.burst IS NULL THEN 2147483647
                ELSE greatest(figures.burst - ceil(extract(EPOCH FROM ahead.lead) / extract(EPOCH FROM pace.step)), 0)
            END::bigint AS tokens
        FROM (
            SELECT
                greatest(coalesce(used.spent_until, now()) - returned.tokens * pace.step - now(), '0 seconds') AS lead
        ) AS ahead
    ) AS spent;
END;

COMMENT ON FUNCTION taskq_limit_state(text) IS
    'How many jobs that count in a limit run, how many more may start now, and if only its rate lets none: when the '
    'next one may; and how long its rate has one wait for the one before. With nothing '
    'said of the limit, none may start.';


-- Planned as a part of what calls it, as the next one is.
CREATE FUNCTION taskq_limit_head(wanted text, after_queue text) RETURNS TABLE (queue_name text, priority integer)
LANGUAGE sql STABLE PARALLEL SAFE ROWS 1
BEGIN ATOMIC
    SELECT
        first.queue_name,
        first.priority
    FROM (
        (
            SELECT
                job.queue_name,
                job.priority
            FROM taskq_limited AS job
            WHERE job.limit_key = wanted AND job.queue_name > after_queue
            ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
            LIMIT 1
        )
        UNION ALL
        (
            SELECT
                gate.queue_name,
                gate.priority
            FROM taskq_open_gates AS gate
            WHERE gate.limit_key = wanted AND gate.queue_name > after_queue
            ORDER BY gate.limit_key, gate.queue_name, gate.priority DESC, gate.job_id
            LIMIT 1
        )
    ) AS first
    ORDER BY first.queue_name, first.priority DESC
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_limit_head(text, text) IS
    'The next queue after a name, by bytes, in which jobs wait for a limit alone, and the highest priority of them.';


-- Planned as a part of what calls it.
CREATE FUNCTION taskq_limit_places(limit_keys text []) RETURNS TABLE (
    limit_key text, queue_name text, priority integer
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH RECURSIVE waiting AS (
        SELECT
            named.limit_key,
            first.queue_name,
            first.priority
        FROM (SELECT DISTINCT unnest(limit_keys) COLLATE "C" AS limit_key) AS named
        CROSS JOIN LATERAL taskq_limit_head(named.limit_key, '') AS first
        UNION ALL
        SELECT
            waiting.limit_key,
            next.queue_name,
            next.priority
        FROM waiting
        CROSS JOIN LATERAL taskq_limit_head(waiting.limit_key, waiting.queue_name) AS next
    )

    SELECT
        waiting.limit_key,
        waiting.queue_name,
        waiting.priority
    FROM waiting;
END;

COMMENT ON FUNCTION taskq_limit_places(text []) IS
    'Of each limit the queues in which jobs wait for it alone, and the highest priority of them.';


CREATE FUNCTION taskq_next_limit_key(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        least(
            (
                SELECT job.limit_key
                FROM taskq_limited AS job
                WHERE job.limit_key > after
                ORDER BY job.limit_key, job.queue_name, job.priority DESC, job.id
                LIMIT 1
            ),
            (
                SELECT gate.limit_key
                FROM taskq_open_gates AS gate
                WHERE gate.limit_key > after
                ORDER BY gate.limit_key, gate.queue_name, gate.priority DESC, gate.job_id
                LIMIT 1
            )
        );
END;

COMMENT ON FUNCTION taskq_next_limit_key(text) IS
    'The next limit after a key, by bytes, for which jobs wait; null: none.';


CREATE FUNCTION taskq_turn() RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT (extract(EPOCH FROM clock_timestamp()) * 1000000)::bigint;
END;

COMMENT ON FUNCTION taskq_turn() IS 'The next turn of a limit, behind those that have one.';


-- As taskq_open_locks, for the limits for which a job has come to wait: a statement of its own, with a snapshot of its
-- own. The end of a job brings a gate of its limit whether any waits or not: of several that end and are deferred at
-- once, none sees all the others.
CREATE FUNCTION taskq_open_limits(limit_keys text [], notify boolean DEFAULT true) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH waiting AS MATERIALIZED (
        SELECT place.* FROM taskq_limit_places(limit_keys) AS place
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key)
        SELECT
            waiting.queue_name,
            waiting.priority,
            taskq_turn(),
            waiting.limit_key
        FROM waiting
    ),

    notified AS (
        SELECT taskq_notify(queue.name)
        FROM (
            SELECT waiting.queue_name AS name FROM waiting
            UNION
            SELECT limited.queue_name FROM taskq_queue_limits AS limited
            WHERE limited.limit_key = ANY(limit_keys)
        ) AS queue
        WHERE notify
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_open_limits(text [], boolean) IS
    'Has the next claim decide about these limits, if jobs wait for them. To be called in the transaction that has a '
    'job wait for one, after the change.';


CREATE FUNCTION taskq_is_full(wanted text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT EXISTS (SELECT FROM taskq_limit_state(wanted) AS state WHERE state.room = 0);
END;

COMMENT ON FUNCTION taskq_is_full(text) IS 'Whether a limit has no room.';


-- Side by side: the limit, the queue and the priority of each job that has ended, and whether it never began. The limit
-- of its queue has room again as well. Whether any job waits for them is for claims to see.
CREATE FUNCTION taskq_free_limits(
    limit_keys text [], queue_names text [], priorities integer [], unstarted boolean []
) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH gone AS MATERIALIZED (
        SELECT
            job.limit_key,
            job.queue_name,
            job.priority,
            job.unstarted
        FROM unnest(limit_keys, queue_names, priorities, unstarted)
            AS job (limit_key, queue_name, priority, unstarted)
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key, tokens)
        SELECT
            freed.queue_name,
            max(freed.priority),
            taskq_turn(),
            freed.limit_key,
            nullif(count(*) FILTER (WHERE freed.unstarted), 0)
        FROM (
            SELECT gone.* FROM gone
            WHERE gone.limit_key IS NOT NULL
            UNION ALL
            SELECT
                limited.limit_key,
                gone.queue_name,
                gone.priority,
                gone.unstarted
            FROM taskq_queue_limits AS limited
            INNER JOIN gone ON limited.queue_name = gone.queue_name
            WHERE gone.limit_key IS DISTINCT FROM limited.limit_key
        ) AS freed
        GROUP BY freed.queue_name, freed.limit_key
    ),

    -- No gate tells of what waits for the limit of a queue.
    notified AS (
        SELECT taskq_notify(counted.queue_name)
        FROM gone
        INNER JOIN taskq_queue_limits AS limited ON gone.queue_name = limited.queue_name
        INNER JOIN taskq_queue_limits AS counted ON limited.limit_key = counted.limit_key
        GROUP BY counted.queue_name
    )

    SELECT count(*) FROM notified;
END;

COMMENT ON FUNCTION taskq_free_limits(text [], text [], integer [], boolean []) IS
    'Leaves a gate for each limit in which jobs have ended: in the transaction that ends them.';


-- The function is planned only where a queue has a limit: as a part of the view it would be planned with each check for
-- jobs, in a millisecond.
CREATE VIEW taskq_barred_queues AS
SELECT pause.name
FROM taskq_pauses AS pause
WHERE pause.kind = 'queue'
UNION ALL
SELECT limited.queue_name AS name
FROM taskq_queue_limits AS limited
WHERE taskq_is_full(limited.limit_key);

COMMENT ON VIEW taskq_barred_queues IS 'The queues that are paused, or whose limit has no room.';


-- Hops over the queues that are barred, whatever is in them.
CREATE FUNCTION taskq_next_ready_queue(after text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    WITH RECURSIVE queue AS (
        SELECT taskq_next_filled_queue(after) AS name
        UNION ALL
        SELECT taskq_next_filled_queue(queue.name)
        FROM queue
        WHERE EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue.name)
    )

    SELECT queue.name
    FROM queue
    WHERE NOT EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue.name)
    LIMIT 1;
END;

COMMENT ON FUNCTION taskq_next_ready_queue(text) IS
    'The next queue after a name, by bytes, that has a ready job or an open gate and is not barred; null: none.';


CREATE FUNCTION taskq_is_ready(queue text) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    -- The first in the order of an index: for any at all, the planner would read the table from its start, past all
    -- that is finished.
    SELECT
        (
            EXISTS (
                SELECT
                FROM (
                    SELECT job.id
                    FROM taskq_ready AS job
                    WHERE job.queue_name = queue
                    ORDER BY job.queue_name, job.priority DESC, job.id
                    LIMIT 1
                ) AS first
            )
            OR EXISTS (
                SELECT FROM taskq_open_gates AS gate WHERE gate.limit_key IS NULL AND gate.queue_name = queue
            )
            OR EXISTS (
                SELECT FROM taskq_limit_gates AS gate WHERE gate.open_at IS NULL AND gate.queue_name = queue
            )
        )
        AND NOT EXISTS (SELECT FROM taskq_barred_queues AS barred WHERE barred.name = queue);
END;

COMMENT ON FUNCTION taskq_is_ready(text) IS 'Whether a queue has a ready job or an open gate, and is not barred.';


-- Planned as a part of what calls it. In two branches, as an index is searched by what comes after an id only where
-- the priority is one; 0 is no id.
CREATE FUNCTION taskq_ready_jobs(queue text, highest bigint, lowest bigint, after_id bigint)
RETURNS TABLE (id bigint, priority integer, task_name text)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    (
        SELECT
            job.id,
            job.priority,
            job.task_name
        FROM taskq_ready AS job
        WHERE
            job.queue_name = queue
            AND job.priority BETWEEN lowest AND highest
            AND after_id = 0
        ORDER BY job.priority DESC, job.id
        LIMIT 1000
    )
    UNION ALL
    (
        SELECT
            job.id,
            job.priority,
            job.task_name
        FROM taskq_ready AS job
        WHERE
            job.queue_name = queue
            AND job.priority = highest
            AND job.id > after_id AND after_id > 0
        ORDER BY job.id
        LIMIT 1000
    );
END;

COMMENT ON FUNCTION taskq_ready_jobs(text, bigint, bigint, bigint) IS
    'The first 1,000 ready jobs of a queue in their order: between two priorities, or of the highest after an id.';


CREATE FUNCTION taskq_take_ready_jobs(
    queue text, highest bigint, lowest bigint, after_id bigint, max_jobs bigint
) RETURNS SETOF bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT taken.id
    FROM (
        SELECT between_two.id
        FROM (
            SELECT job.id
            FROM taskq_ready AS job
            WHERE
                job.queue_name = queue
                AND job.priority BETWEEN lowest AND highest
                AND after_id = 0
            ORDER BY job.priority DESC, job.id
            LIMIT max_jobs
            FOR UPDATE SKIP LOCKED
        ) AS between_two
        UNION ALL
        SELECT behind.id
        FROM (
            SELECT job.id
            FROM taskq_ready AS job
            WHERE
                job.queue_name = queue
                AND job.priority = highest
                AND job.id > after_id AND after_id > 0
            ORDER BY job.id
            LIMIT max_jobs
            FOR UPDATE SKIP LOCKED
        ) AS behind
    ) AS taken;
END;

COMMENT ON FUNCTION taskq_take_ready_jobs(text, bigint, bigint, bigint, bigint) IS
    'Locks the first of taskq_ready_jobs that no other transaction has locked.';


-- The row of the pause is locked, for its end to come after this and find what is marked here. Where it is just ending,
-- nothing is marked.
CREATE FUNCTION taskq_bar_paused_jobs(ids bigint []) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH pause AS MATERIALIZED (
        SELECT taskq_pauses.name
        FROM taskq_pauses
        WHERE taskq_pauses.kind = 'task'
        FOR KEY SHARE SKIP LOCKED
    ),

    barred AS (
        UPDATE taskq_jobs
        SET paused = true
        WHERE
            taskq_jobs.id = ANY(ARRAY(
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE
                    job.id = ANY(ids) AND job.status = 'todo' AND job.due AND job.paused IS NULL
                    AND job.task_name IN (SELECT pause.name FROM pause)
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING taskq_jobs.id
    )

    SELECT count(*) FROM barred;
END;

COMMENT ON FUNCTION taskq_bar_paused_jobs(bigint []) IS
    'Takes those of some jobs whose task is paused out of the way of claims, until it is resumed.';


CREATE FUNCTION taskq_let_in_paused_jobs(task text) RETURNS bigint
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    WITH let_in AS (
        UPDATE taskq_jobs
        SET paused = null
        WHERE taskq_jobs.status = 'todo' AND taskq_jobs.paused AND taskq_jobs.task_name = task
        RETURNING taskq_jobs.queue_name, taskq_jobs.lock, taskq_jobs.limit_key
    ),

    locks AS (
        SELECT taskq_open_locks(array_agg(let_in.lock)) AS queues
        FROM let_in
        WHERE let_in.lock IS NOT NULL
        HAVING count(*) > 0
    ),

    limits AS (
        SELECT taskq_open_limits(array_agg(let_in.limit_key)) AS queues
        FROM let_in
        WHERE let_in.lock IS NULL AND let_in.limit_key IS NOT NULL
        HAVING count(*) > 0
    ),

    notified AS (
        SELECT taskq_notify(let_in.queue_name)
        FROM let_in
        GROUP BY let_in.queue_name
    )

    SELECT
        (SELECT count(*) FROM notified) + coalesce((SELECT sum(locks.queues) FROM locks), 0)
        + coalesce((SELECT sum(limits.queues) FROM limits), 0);
END;

COMMENT ON FUNCTION taskq_let_in_paused_jobs(text) IS
    'Lets the jobs of a task in that claims have taken out of their way: in the transaction that ends its pause, '
    'after it.';


-- There are 1,024 of them for all locks and limits, as PostgreSQL has room for a few thousand: where two share one, a
-- claim may pass over one of them.
CREATE FUNCTION taskq_try_gate(name text) RETURNS boolean
LANGUAGE sql VOLATILE
BEGIN ATOMIC
    SELECT pg_try_advisory_xact_lock('taskq_open_gates'::regclass::oid::integer, hashtext(name) & 1023);
END;

COMMENT ON FUNCTION taskq_try_gate(text) IS
    'Takes the advisory lock by which claims of a lock or limit come one after the other; false: another claim has it.';


-- Jobs of limits that have room, for a claim. Of each limit no more than it has room for, and of limits of one priority
-- one job each in turn: in what order they come among other jobs, order_id says. The claim has the advisory lock of
-- each limit that is visited, until it commits.
CREATE FUNCTION taskq_limited_jobs(
    queue_names text [],
    max_jobs integer,
    has_paused_tasks boolean,
    OUT gates tid [],
    OUT visited text [],
    OUT rooms bigint [],
    OUT paces interval [],
    OUT ids bigint [],
    OUT priorities integer [],
    OUT order_ids bigint [],
    OUT locks text [],
    OUT limit_keys text []
)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    -- Side by side with the gates: of which limits they are, where, and since when.
    gate_keys text [];
    gate_queues text [];
    turns bigint [];
BEGIN
    WITH gate AS MATERIALIZED (
        SELECT
            open_gate.ctid,
            open_gate.limit_key,
            queue.name AS queue_name,
            open_gate.priority,
            open_gate.turn
        FROM (SELECT DISTINCT unnest(queue_names) COLLATE "C" AS name) AS queue
        CROSS JOIN LATERAL (
            SELECT
                first.ctid,
                first.limit_key,
                first.priority,
                first.turn
            FROM taskq_limit_gates AS first
            WHERE first.open_at IS NULL AND first.queue_name = queue.name
            ORDER BY first.queue_name, first.priority DESC, first.turn
            LIMIT 4 * max_jobs
        ) AS open_gate
    ),

    mine AS MATERIALIZED (
        SELECT best.limit_key
        FROM (
            SELECT gate.limit_key
            FROM gate
            GROUP BY gate.limit_key
            ORDER BY max(gate.priority) DESC, min(gate.turn)
        ) AS best
        WHERE taskq_try_gate(best.limit_key)
        LIMIT max_jobs
    )

    SELECT
        array_agg(gate.ctid),
        array_agg(gate.limit_key),
        array_agg(gate.queue_name),
        array_agg(gate.turn)
    INTO gates, gate_keys, gate_queues, turns
    FROM gate
    INNER JOIN mine ON gate.limit_key = mine.limit_key;

    visited := '{}';
    ids := '{}';

    IF gates IS NULL THEN
        RETURN;
    END IF;

    IF has_paused_tasks THEN
        PERFORM taskq_bar_paused_jobs(ARRAY(
            SELECT job.id
            FROM (SELECT DISTINCT * FROM unnest(gate_keys, gate_queues)) AS place (limit_key, queue_name)
            CROSS JOIN LATERAL (
                SELECT waiting.id
                FROM taskq_limited AS waiting
                WHERE waiting.limit_key = place.limit_key AND waiting.queue_name = place.queue_name
                ORDER BY waiting.limit_key, waiting.queue_name, waiting.priority DESC, waiting.id
                LIMIT 1000
            ) AS job
        ));
    END IF;

    -- A statement after the one that took the advisory locks. Joins are kept out of it: the planner does not know how
    -- many limits there are, and would go through all of them for each.
    WITH visited_limit AS MATERIALIZED (
        SELECT
            named.limit_key,
            named.queues,
            named.turn,
            state.room,
            state.pace,
            -- Twice as many as it takes of each to have enough.
            least(state.room, 1 + 2 * max_jobs / count(*) OVER ()) AS most
        FROM (
            SELECT
                gate.limit_key,
                array_agg(DISTINCT gate.queue_name) AS queues,
                min(gate.turn) AS turn
            FROM unnest(gate_keys, gate_queues, turns) AS gate (limit_key, queue_name, turn)
            GROUP BY gate.limit_key
        ) AS named
        CROSS JOIN LATERAL taskq_limit_state(named.limit_key) AS state
    ),

    candidate AS MATERIALIZED (
        SELECT numbered.*
        FROM (
            SELECT
                job.id,
                job.priority,
                job.lock,
                state.limit_key,
                state.turn,
                state.room,
                row_number() OVER (PARTITION BY state.limit_key ORDER BY job.priority DESC, job.id) AS round
            FROM visited_limit AS state
            CROSS JOIN LATERAL unnest(state.queues) AS queue (name)
            CROSS JOIN LATERAL (
                (
                    SELECT
                        waiting.id,
                        waiting.priority,
                        null AS lock
                    FROM taskq_limited AS waiting
                    WHERE waiting.limit_key = state.limit_key AND waiting.queue_name = queue.name
                    ORDER BY waiting.limit_key, waiting.queue_name, waiting.priority DESC, waiting.id
                    LIMIT state.most
                )
                UNION ALL
                (
                    SELECT
                        max(gate.job_id),
                        max(gate.priority),
                        gate.lock
                    FROM taskq_open_gates AS gate
                    WHERE gate.limit_key = state.limit_key AND gate.queue_name = queue.name
                    GROUP BY gate.lock
                    ORDER BY max(gate.priority) DESC, max(gate.job_id)
                    LIMIT state.most
                )
            ) AS job
            WHERE
                state.most > 0
                AND (job.lock IS NULL OR taskq_try_gate(job.lock))
        ) AS numbered
        WHERE numbered.round <= numbered.room
    )

    -- Of each priority they take one another's places in turn.
    SELECT
        array_agg(candidate.id ORDER BY candidate.priority DESC, candidate.round, candidate.turn, candidate.id),
        array_agg(candidate.priority ORDER BY candidate.priority DESC),
        array_agg(candidate.id ORDER BY candidate.priority DESC, candidate.id),
        array_agg(candidate.lock ORDER BY candidate.priority DESC, candidate.round, candidate.turn, candidate.id),
        array_agg(candidate.limit_key ORDER BY candidate.priority DESC, candidate.round, candidate.turn, candidate.id),
        (SELECT array_agg(visited_limit.limit_key) FROM visited_limit),
        (SELECT array_agg(visited_limit.room) FROM visited_limit),
        (SELECT array_agg(visited_limit.pace) FROM visited_limit)
    INTO ids, priorities, order_ids, locks, limit_keys, visited, rooms, paces
    FROM candidate;

    ids := coalesce(ids, '{}');
END;
$$;

COMMENT ON FUNCTION taskq_limited_jobs(text [], integer, boolean) IS
    'The jobs that a claim may take of limits with open gates in some queues; the gates that it has come to, and the '
    'limits that they are of with how much room each has.';


-- What becomes of the gates that a claim has come to, in statements after it took its jobs. A limit that what runs
-- fills is left without one: the end of any of it brings one. A gate that came in meanwhile stays.
CREATE FUNCTION taskq_settle_limits(
    gates tid [],
    limit_keys text [],
    rooms bigint [],
    paces interval [],
    queue_names text [],
    claimed bigint []
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    open_keys text [];
    notified bigint;
BEGIN
    -- Without joins, as in taskq_limited_jobs.
    WITH gone AS (
        DELETE FROM taskq_limit_gates AS gate
        WHERE
            gate.ctid = ANY(gates || ARRAY(
                -- What gives starts back, and what is for later: when the next one may start is found anew.
                SELECT other.ctid
                FROM taskq_limit_gates AS other
                WHERE
                    other.limit_key = ANY(limit_keys) AND other.queue_name = ANY(queue_names)
                    AND (other.tokens IS NOT NULL OR other.open_at IS NOT NULL)
                -- One that is just being opened.
                FOR UPDATE SKIP LOCKED
            ))
        RETURNING gate.limit_key, gate.tokens
    ),

    settled AS MATERIALIZED (
        SELECT
            fact.limit_key,
            max(fact.pace) AS pace,
            sum(fact.started) AS started,
            sum(fact.tokens) AS tokens,
            -- By what the claim took.
            max(fact.pace) IS NULL AND sum(fact.started) >= max(fact.room) AND sum(fact.started) > 0 AS is_full
        FROM (
            SELECT
                named.limit_key,
                named.room,
                named.pace,
                0 AS started,
                0 AS tokens
            FROM unnest(limit_keys, rooms, paces) AS named (limit_key, room, pace)
            UNION ALL
            SELECT
                gone.limit_key,
                null,
                null,
                0,
                coalesce(gone.tokens, 0)
            FROM gone
            UNION ALL
            SELECT
                job.limit_key,
                null,
                null,
                1,
                0
            FROM taskq_jobs AS job
            WHERE job.id = ANY(claimed) AND job.status = 'doing' AND job.limit_key IS NOT NULL
            UNION ALL
            SELECT
                queue_limit.limit_key,
                null,
                null,
                1,
                0
            FROM taskq_queue_limits AS queue_limit
            INNER JOIN taskq_jobs AS job ON queue_limit.queue_name = job.queue_name
            WHERE
                job.id = ANY(claimed) AND job.status = 'doing'
                AND job.limit_key IS DISTINCT FROM queue_limit.limit_key
        ) AS fact
        GROUP BY fact.limit_key
    ),

    paced AS (
        INSERT INTO taskq_limit_rates (limit_key, spent_until)
        SELECT
            settled.limit_key,
            greatest(coalesce(used.spent_until, now()) - settled.tokens * settled.pace, now())
            + settled.started * settled.pace
        FROM settled
        LEFT JOIN taskq_limit_rates AS used ON settled.limit_key = used.limit_key
        WHERE settled.pace IS NOT NULL AND (settled.started > 0 OR settled.tokens > 0)
        ON CONFLICT (limit_key) DO UPDATE
        SET spent_until = excluded.spent_until
    )

    SELECT array_agg(settled.limit_key)
    INTO open_keys
    FROM settled
    WHERE settled.limit_key = ANY(limit_keys) AND NOT settled.is_full;

    IF open_keys IS NULL THEN
        RETURN;
    END IF;

    -- In all queues in which jobs wait: what has ended was perhaps in another one.
    WITH waiting AS MATERIALIZED (
        SELECT place.* FROM taskq_limit_places(open_keys) AS place
    ),

    place AS MATERIALIZED (
        SELECT
            waiting.limit_key,
            waiting.queue_name,
            waiting.priority,
            false AS is_queue_limit
        FROM waiting
        UNION ALL
        -- For the next start of a queue's own limit, if its rate lets none now.
        SELECT
            queue_limit.limit_key,
            queue_limit.queue_name,
            0 AS priority,
            true AS is_queue_limit
        FROM taskq_queue_limits AS queue_limit
        WHERE queue_limit.limit_key = ANY(open_keys)
    ),

    opened AS (
        INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key, open_at)
        SELECT
            place.queue_name,
            max(place.priority),
            taskq_turn(),
            place.limit_key,
            CASE
                WHEN state.next_at IS NOT NULL THEN state.next_at
                -- Nobody has said anything of it yet.
                WHEN state.room = 0 THEN now() + '1 second'
            END
        FROM place
        CROSS JOIN LATERAL taskq_limit_state(place.limit_key) AS state
        WHERE
            CASE
                WHEN state.next_at IS NOT NULL THEN true
                ELSE NOT place.is_queue_limit AND (state.room > 0 OR state.running = 0)
            END
            AND NOT EXISTS (
                SELECT FROM taskq_limit_gates AS gate
                WHERE gate.limit_key = place.limit_key AND gate.queue_name = place.queue_name
            )
        GROUP BY place.queue_name, place.limit_key, state.room, state.next_at
        RETURNING queue_name, open_at
    ),

    notified_queue AS (
        SELECT taskq_notify(opened.queue_name, opened.open_at IS NULL, min(opened.open_at))
        FROM opened
        WHERE opened.open_at IS NOT NULL OR opened.queue_name <> ALL(queue_names)
        GROUP BY opened.queue_name, opened.open_at IS NULL
    )

    SELECT count(*) INTO notified FROM notified_queue;
END;
$$;

COMMENT ON FUNCTION taskq_settle_limits(tid [], text [], bigint [], interval [], text [], bigint []) IS
    'Takes what a claim has started from the rates of limits, and opens those that still have room for jobs that wait.';


-- A claim waits for no other transaction. Each of its statements has a snapshot of its own, and so the claim that has
-- the advisory lock of a lock sees all that was committed by those that had it before.
CREATE FUNCTION taskq_claim_jobs(
    worker_id bigint,
    queue_names text [],
    highest bigint [],
    lowest bigint [],
    after_ids bigint [],
    max_jobs integer,
    run_length integer
) RETURNS SETOF taskq_jobs
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    -- The gates that this claim has come to, and what it makes of them.
    gates tid [] := '{}';
    new_gates tid [];
    gate_locks text [] := '{}';
    locks text [];
    -- The locks whose gates go: they bar, have moved, or are claimed.
    settled text [] := '{}';
    -- Jobs of locks that are free: the head of each, and with it those that come next.
    run_ids bigint [] := '{}';
    run_priorities integer [] := '{}';
    run_locks text [] := '{}';
    run_places integer [] := '{}';
    heads integer := 0;
    gated bigint [] := '{}';
    -- Jobs of limits that have room, and of those with a lock which were claimed and which are not first any more.
    limited record;
    limit_gates tid [] := '{}';
    limits_visited text [] := '{}';
    limit_rooms bigint [] := '{}';
    limit_paces interval [] := '{}';
    run_orders bigint [];
    run_limits text [];
    parked_locks text [];
    stale_locks text [];
    -- The limits of the queues, and how much room they have; of a queue without one, null.
    queue_limits text [] := '{}';
    rooms bigint [];
    served text [] := queue_names;
    -- How many ready jobs to take of each range.
    shares bigint [];
    paused_queues text [];
    paused_tasks text [];
    has_queue_limits boolean;
    has_open_limits boolean;
    has_expired boolean;
    taken bigint [];
BEGIN
    -- A statement of its own, and the first: it sees each pause that was committed before the claim began. The heads
    -- of locks in a queue that is left out here hold those that follow them, as in any that the worker does not serve.
    SELECT
        coalesce(array_agg(pause.name) FILTER (WHERE pause.kind = 'queue'), '{}'),
        coalesce(array_agg(pause.name) FILTER (WHERE pause.kind = 'task'), '{}'),
        EXISTS (SELECT FROM taskq_queue_limits),
        EXISTS (
            SELECT
            FROM (
                SELECT gate.limit_key
                FROM taskq_limit_gates AS gate
                WHERE gate.open_at IS NULL
                ORDER BY gate.queue_name, gate.priority DESC, gate.turn
                LIMIT 1
            ) AS first
        ),
        EXISTS (
            SELECT
            FROM (
                SELECT job.id
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.expires_at <= now()
                ORDER BY job.expires_at
                LIMIT 1
            ) AS first
        )
    INTO paused_queues, paused_tasks, has_queue_limits, has_open_limits, has_expired
    FROM taskq_pauses AS pause;

    IF has_expired THEN
        -- What is in the way goes first, as after a time without workers: ten thousand at most. What is left is not
        -- claimed, and keeps its place until the next claim or PromoteJobs comes to it.
        FOR round IN 1..10 LOOP
            EXIT WHEN (SELECT expired.jobs FROM taskq_expire_jobs(1000) AS expired) < 1000;
        END LOOP;
    END IF;

    IF has_queue_limits THEN
        -- A queue whose limit another claim is at is left out, and so is one whose limit has no room.
        SELECT
            array_agg(mine.limit_key),
            paused_queues || array_agg(mine.queue_name) FILTER (WHERE mine.limit_key IS NULL)
        INTO queue_limits, paused_queues
        FROM (
            SELECT
                limited.queue_name,
                CASE
                    WHEN taskq_try_gate(limited.limit_key) THEN limited.limit_key
                END AS limit_key
            FROM taskq_queue_limits AS limited
            WHERE limited.queue_name = ANY(queue_names) AND limited.queue_name <> ALL(paused_queues)
        ) AS mine;

        queue_limits := coalesce(array_remove(queue_limits, null), '{}');
    END IF;

    IF queue_limits <> '{}' THEN
        SELECT
            array_agg(key.name),
            array_agg(state.room),
            array_agg(state.pace)
        INTO limits_visited, limit_rooms, limit_paces
        FROM (SELECT DISTINCT unnest(queue_limits) COLLATE "C" AS name) AS key
        CROSS JOIN LATERAL taskq_limit_state(key.name) AS state;
    END IF;

    IF paused_queues <> '{}' OR queue_limits <> '{}' THEN
        SELECT
            array_agg(range.queue_name ORDER BY range.ordinality),
            array_agg(range.highest ORDER BY range.ordinality),
            array_agg(range.lowest ORDER BY range.ordinality),
            array_agg(range.after_id ORDER BY range.ordinality),
            array_agg(visited.room ORDER BY range.ordinality)
        INTO queue_names, highest, lowest, after_ids, rooms
        FROM unnest(queue_names, highest, lowest, after_ids)
            WITH ORDINALITY AS range (queue_name, highest, lowest, after_id, ordinality)
        LEFT JOIN taskq_queue_limits AS limited ON range.queue_name = limited.queue_name
        LEFT JOIN unnest(limits_visited, limit_rooms) AS visited (limit_key, room)
            ON limited.limit_key = visited.limit_key
        WHERE range.queue_name <> ALL(paused_queues) AND coalesce(visited.room, 1) > 0;

        IF queue_names IS NULL THEN
            PERFORM taskq_settle_limits('{}', limits_visited, limit_rooms, limit_paces, served, '{}');
            RETURN;
        END IF;
    END IF;

    -- Each time twice as many, as long as what it comes to is held: 1,023 times max_jobs in all.
    FOR round IN 0..9 LOOP
        SELECT
            array_agg(mine.ctid),
            array_agg(mine.lock)
        INTO new_gates, locks
        FROM (
            SELECT
                best.ctid,
                best.lock
            FROM (
                SELECT
                    gate.ctid,
                    gate.lock
                FROM (SELECT DISTINCT unnest(queue_names) COLLATE "C" AS name) AS queue
                CROSS JOIN LATERAL (
                    SELECT
                        open_gate.ctid,
                        open_gate.lock,
                        open_gate.priority,
                        open_gate.job_id
                    FROM taskq_open_gates AS open_gate
                    WHERE open_gate.limit_key IS NULL AND open_gate.queue_name = queue.name
                    ORDER BY open_gate.queue_name, open_gate.priority DESC, open_gate.job_id
                    LIMIT 4 * (max_jobs << round)
                ) AS gate
                WHERE gate.ctid NOT IN (SELECT unnest(gates))
                ORDER BY gate.priority DESC, gate.job_id
                LIMIT 4 * (max_jobs << round)
            ) AS best
            WHERE taskq_try_gate(best.lock)
            LIMIT max_jobs << round
        ) AS mine;

        EXIT WHEN new_gates IS NULL;
        gates := gates || new_gates;
        gate_locks := gate_locks || locks;

        IF paused_tasks <> '{}' THEN
            PERFORM taskq_bar_paused_jobs(ARRAY(
                SELECT head.id
                FROM unnest(locks) AS named (lock)
                CROSS JOIN LATERAL taskq_lock_head(named.lock) AS head
            ));
        END IF;

        -- A gate is deleted without a claim only under a share lock on the job that bars it: what ends or changes
        -- that job comes after, and opens the lock again.
        WITH state AS MATERIALIZED (
            SELECT
                named.lock,
                (SELECT holder.id FROM taskq_lock_holder(named.lock) AS holder) AS holder_id,
                head.id AS head_id,
                head.due,
                head.queue_name,
                head.priority,
                head.limit_key
            FROM (SELECT DISTINCT unnest(locks) COLLATE "C" AS lock) AS named
            LEFT JOIN LATERAL taskq_lock_head(named.lock) AS head ON true
            WHERE named.lock NOT IN (SELECT unnest(run_locks))
        ),

        barring AS (
            SELECT job.lock
            FROM taskq_jobs AS job
            WHERE
                job.id = ANY(ARRAY(
                    SELECT coalesce(state.holder_id, state.head_id)
                    FROM state
                    WHERE state.holder_id IS NOT NULL OR NOT state.due
                ))
                AND (job.status = 'doing' OR (job.status = 'todo' AND (job.paused OR NOT job.due)))
            FOR SHARE SKIP LOCKED
        ),

        -- The head is in a queue that this worker does not serve, or has to have room in a limit, too: its gate moves
        -- to where it is found, and that limit is opened.
        elsewhere AS (
            INSERT INTO taskq_open_gates (queue_name, priority, job_id, lock, limit_key)
            SELECT
                state.queue_name,
                state.priority,
                state.head_id,
                state.lock,
                state.limit_key
            FROM state
            WHERE
                state.holder_id IS NULL AND state.due
                AND (state.queue_name <> ALL(queue_names) OR state.limit_key IS NOT NULL)
            RETURNING lock, queue_name, priority, limit_key
        ),

        at_limit AS (
            INSERT INTO taskq_limit_gates (queue_name, priority, turn, limit_key)
            SELECT
                elsewhere.queue_name,
                max(elsewhere.priority),
                taskq_turn(),
                elsewhere.limit_key
            FROM elsewhere
            WHERE elsewhere.limit_key IS NOT NULL
            GROUP BY elsewhere.queue_name, elsewhere.limit_key
            RETURNING limit_key
        ),

        head AS (
            SELECT
                state.lock,
                state.head_id,
                state.priority
            FROM state
            WHERE
                state.holder_id IS NULL AND state.due
                AND state.queue_name = ANY(queue_names) AND state.limit_key IS NULL
        )

        SELECT
            settled || ARRAY(
                SELECT barring.lock FROM barring
                UNION ALL
                SELECT elsewhere.lock FROM elsewhere
                UNION ALL
                SELECT state.lock FROM state
                WHERE state.holder_id IS NULL AND state.head_id IS NULL
            ),
            run_ids || array_agg(head.head_id),
            run_priorities || array_agg(head.priority),
            run_locks || array_agg(head.lock),
            has_open_limits OR EXISTS (SELECT FROM at_limit)
        INTO settled, run_ids, run_priorities, run_locks, has_open_limits
        FROM head;

        EXIT WHEN cardinality(run_ids) >= max_jobs OR cardinality(new_gates) < max_jobs << round;
    END LOOP;

    heads := cardinality(run_ids);
    run_places := array_fill(1, ARRAY[heads]);

    IF heads BETWEEN 1 AND max_jobs - 1 AND run_length > 1 THEN
        SELECT
            run_ids || array_agg(next.id),
            run_priorities || array_agg(next.priority),
            run_locks || array_agg(named.lock),
            run_places || array_agg(next.place::integer)
        INTO run_ids, run_priorities, run_locks, run_places
        FROM unnest(run_locks) AS named (lock)
        CROSS JOIN LATERAL (
            SELECT
                numbered.id,
                numbered.priority,
                numbered.place,
                -- What may have killed a worker runs alone.
                bool_and(
                    numbered.due AND numbered.queue_name = ANY(queue_names)
                    AND numbered.limit_key IS NULL AND numbered.task_name <> ALL(paused_tasks)
                    AND (numbered.crashes = 0 OR numbered.place = 1)
                ) OVER (ORDER BY numbered.place) AS follows
            FROM (
                SELECT
                    job.id,
                    job.priority,
                    job.due AND job.paused IS NULL AS due,
                    job.queue_name,
                    job.limit_key,
                    job.task_name,
                    job.crashes,
                    row_number() OVER (ORDER BY job.priority DESC, job.id) AS place
                FROM taskq_jobs AS job
                WHERE job.status = 'todo' AND job.lock = named.lock
                ORDER BY job.lock, job.priority DESC, job.id
                LIMIT least(run_length, 1 + max_jobs / heads)
            ) AS numbered
        ) AS next
        WHERE next.follows AND next.place > 1;
    END IF;

    run_orders := run_ids;
    run_limits := array_fill(null::text, ARRAY[cardinality(run_ids)]);

    IF has_open_limits THEN
        limited := taskq_limited_jobs(queue_names, max_jobs, paused_tasks <> '{}');
        limit_gates := coalesce(limited.gates, '{}');
        limits_visited := limits_visited || limited.visited;
        limit_rooms := limit_rooms || limited.rooms;
        limit_paces := limit_paces || limited.paces;
        run_ids := run_ids || limited.ids;
        run_priorities := run_priorities || limited.priorities;
        run_orders := run_orders || limited.order_ids;
        run_locks := run_locks || limited.locks;
        run_places := run_places || array_fill(1, ARRAY[cardinality(limited.ids)]);
        run_limits := run_limits || limited.limit_keys;
    END IF;

    IF paused_tasks <> '{}' THEN
        -- Ten thousand at most. What is left is not claimed, and the next claim goes on with it.
        FOR round IN 1..10 LOOP
            EXIT WHEN taskq_bar_paused_jobs(ARRAY(
                SELECT job.id
                FROM unnest(queue_names, highest, lowest, after_ids)
                    AS range (queue_name, highest, lowest, after_id)
                CROSS JOIN LATERAL taskq_ready_jobs(
                    range.queue_name, range.highest, range.lowest, range.after_id
                ) AS job
                WHERE job.task_name = ANY(paused_tasks)
            )) = 0;
        END LOOP;
    END IF;

    IF cardinality(run_ids) = 0 AND cardinality(queue_names) = 1 THEN
        shares := ARRAY[least(max_jobs, rooms[1])];
    ELSE
        -- The best of all. Of a lock first only the head, as others can run beside it; then those that follow.
        WITH best AS MATERIALIZED (
            SELECT
                candidate.id,
                candidate.range,
                candidate.limit_key,
                row_number() OVER (
                    ORDER BY candidate.place > 1, candidate.priority DESC, candidate.order_id
                ) AS number
            FROM (
                SELECT
                    run.id,
                    run.priority,
                    run.order_id,
                    run.place,
                    run.limit_key,
                    null::bigint AS range
                FROM unnest(run_ids, run_priorities, run_orders, run_places, run_limits)
                    AS run (id, priority, order_id, place, limit_key)
                UNION ALL
                SELECT
                    ready.id,
                    ready.priority,
                    ready.id AS order_id,
                    1 AS place,
                    null AS limit_key,
                    range.ordinality AS range
                FROM unnest(queue_names, highest, lowest, after_ids, rooms)
                    WITH ORDINALITY AS range (queue_name, highest, lowest, after_id, room, ordinality)
                CROSS JOIN LATERAL (
                    SELECT
                        job.id,
                        job.priority
                    FROM taskq_ready_jobs(
                        range.queue_name, range.highest, range.lowest, range.after_id
                    ) AS job
                    LIMIT least(max_jobs, range.room)
                ) AS ready
            ) AS candidate
            ORDER BY number
            LIMIT max_jobs
        ),

        -- In a queue with a limit, each of its jobs takes up room there as well as in its own limit, which may be the
        -- same one.
        counted AS MATERIALIZED (
            SELECT
                best.id,
                key.name,
                row_number() OVER (PARTITION BY key.name ORDER BY best.number) AS number
            FROM best
            INNER JOIN taskq_jobs AS job ON best.id = job.id
            LEFT JOIN taskq_queue_limits AS limited ON job.queue_name = limited.queue_name
            CROSS JOIN LATERAL (
                SELECT best.limit_key AS name
                UNION
                SELECT limited.limit_key
            ) AS key
            WHERE queue_limits <> '{}' AND key.name = ANY(limits_visited)
        ),

        crowded AS (
            SELECT counted.id
            FROM (SELECT DISTINCT counted.name FROM counted) AS key
            CROSS JOIN LATERAL taskq_limit_state(key.name) AS state
            INNER JOIN counted ON key.name = counted.name
            WHERE counted.number > state.room
        ),

        wanted AS MATERIALIZED (
            SELECT
                best.id,
                best.range
            FROM best
            WHERE best.id NOT IN (SELECT crowded.id FROM crowded)
        )

        SELECT
            ARRAY(SELECT wanted.id FROM wanted WHERE wanted.range IS NULL),
            ARRAY(
                SELECT count(wanted.id)
                FROM generate_subscripts(queue_names, 1) AS subscript (range)
                LEFT JOIN wanted ON subscript.range = wanted.range
                GROUP BY subscript.range
                ORDER BY subscript.range
            )
        INTO gated, shares;
    END IF;

    IF gated <> '{}' THEN
        -- Of each lock as far as none in between is held by another transaction, which may be about to change it. A job
        -- that has waited at a limit may not be the first of its lock any more.
        WITH held AS MATERIALIZED (
            SELECT
                job.id,
                job.lock,
                job.limit_key
            FROM taskq_jobs AS job
            WHERE
                job.id = ANY(gated) AND job.status = 'todo' AND job.due AND job.paused IS NULL
                AND job.queue_name = ANY(queue_names) AND job.task_name <> ALL(paused_tasks)
                AND (job.expires_at IS NULL OR job.expires_at > now())
            FOR UPDATE SKIP LOCKED
        ),

        run AS MATERIALIZED (
            SELECT
                candidate.*,
                candidate.lock IS NOT NULL AND candidate.limit_key IS NOT NULL AS is_parked
            FROM unnest(run_ids, run_locks, run_places, run_limits) AS candidate (id, lock, place, limit_key)
            WHERE candidate.id = ANY(gated)
        ),

        taken AS MATERIALIZED (
            SELECT
                numbered.id,
                numbered.lock,
                numbered.is_parked
            FROM (
                SELECT
                    run.*,
                    row_number() OVER (PARTITION BY run.lock ORDER BY run.place) AS number
                FROM run
                INNER JOIN held
                    ON
                        run.id = held.id AND run.lock IS NOT DISTINCT FROM held.lock
                        AND run.limit_key IS NOT DISTINCT FROM held.limit_key
            ) AS numbered
            WHERE
                CASE
                    WHEN numbered.is_parked
                        THEN
                            numbered.id = (SELECT head.id FROM taskq_lock_head(numbered.lock) AS head)
                            AND NOT EXISTS (SELECT FROM taskq_lock_holder(numbered.lock) AS holder)
                    ELSE numbered.lock IS NULL OR numbered.place = numbered.number
                END
        )

        SELECT
            ARRAY(SELECT taken.id FROM taken),
            settled || ARRAY(SELECT taken.lock FROM taken WHERE taken.lock IS NOT NULL AND NOT taken.is_parked),
            ARRAY(SELECT taken.lock FROM taken WHERE taken.is_parked),
            ARRAY(
                SELECT run.lock FROM run
                WHERE run.is_parked AND run.id NOT IN (SELECT taken.id FROM taken)
            )
        INTO gated, settled, parked_locks, stale_locks;

        IF parked_locks <> '{}' THEN
            DELETE FROM taskq_open_gates
            WHERE limit_key = ANY(run_limits) AND lock = ANY(parked_locks);
        END IF;

        IF stale_locks <> '{}' THEN
            UPDATE taskq_open_gates
            SET limit_key = null
            WHERE limit_key = ANY(run_limits) AND lock = ANY(stale_locks);
        END IF;
    END IF;

    IF settled <> '{}' THEN
        DELETE FROM taskq_open_gates
        WHERE
            ctid = ANY(ARRAY(
                SELECT gate.ctid
                FROM unnest(gates, gate_locks) AS gate (ctid, lock)
                WHERE gate.lock IN (SELECT unnest(settled))
            ));
    END IF;

    taken := gated || ARRAY(
        SELECT taskq_take_ready_jobs(
            range.queue_name, range.highest, range.lowest, range.after_id, range.jobs
        )
        FROM unnest(queue_names, highest, lowest, after_ids, shares)
            AS range (queue_name, highest, lowest, after_id, jobs)
        WHERE range.jobs > 0
    );

    RETURN QUERY
    WITH claimed AS (
        UPDATE taskq_jobs
        SET
            status = 'doing',
            worker_id = taskq_claim_jobs.worker_id,
            -- As far as an integer goes: one row must not make the claim of all fail.
            claim = least(taskq_jobs.claim, 999999999) + 1,
            attempt = least(taskq_jobs.attempt, 999999999) + 1,
            started_at = now()
        -- An array, and not a join: the planner takes a number that it does not know for a tenth of the table.
        WHERE
            taskq_jobs.id = ANY(taken) AND taskq_jobs.task_name <> ALL(paused_tasks)
            AND (taskq_jobs.expires_at IS NULL OR taskq_jobs.expires_at > now())
        RETURNING taskq_jobs.*
    )

    SELECT * FROM claimed
    ORDER BY claimed.priority DESC, claimed.id;

    IF limits_visited <> '{}' THEN
        PERFORM taskq_settle_limits(limit_gates, limits_visited, limit_rooms, limit_paces, served, taken);
    END IF;
END;
$$;

COMMENT ON FUNCTION taskq_claim_jobs(bigint, text [], bigint [], bigint [], bigint [], integer, integer) IS
    'Takes the next jobs of some queues for a worker, by priority, then id: those without a lock from ranges of '
    'the ready ones, those with one from the open gates, and of a lock at most run_length in a row.';


-- Planned as a part of the query that calls it. A function in FROM gives its rows in the order of the array.
CREATE FUNCTION taskq_new_jobs(jobs jsonb, called_at timestamptz) RETURNS TABLE (
    task_name text,
    args jsonb,
    queue_name text,
    priority integer,
    lock text,
    queueing_lock text,
    idempotency_key text,
    limit_key text,
    scheduled_at timestamptz,
    due boolean,
    metadata jsonb,
    tags text [],
    awaited boolean,
    expires_at timestamptz
)
LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT
        job.task_name,
        coalesce(job.args, '{}'),
        coalesce(job.queue_name, 'default'),
        coalesce(job.priority, 0),
        job.lock,
        job.queueing_lock,
        job.idempotency_key,
        job."limit" || coalesce(':' || job.limit_key, ''),
        coalesce(job.scheduled_at, called_at + make_interval(secs => job.schedule_in)),
        coalesce(
            coalesce(job.scheduled_at, called_at + make_interval(secs => job.schedule_in)) <= called_at,
            true
        ),
        job.metadata,
        job.tags,
        nullif(job.awaited, false),
        coalesce(job.expire_at, called_at + make_interval(secs => job.expire_in))
    FROM jsonb_to_recordset(jobs) AS job (
        task_name text,
        args jsonb,
        queue_name text,
        priority integer,
        lock text,
        queueing_lock text,
        idempotency_key text,
        "limit" text,
        limit_key text,
        scheduled_at timestamptz,
        schedule_in double precision,
        metadata jsonb,
        tags text [],
        awaited boolean,
        expire_at timestamptz,
        expire_in double precision
    );
END;

COMMENT ON FUNCTION taskq_new_jobs(jsonb, timestamptz) IS
    'The jobs of an array as taskq_defer_jobs writes them: what a column of a new job gets is said here.';


-- plpgsql binds late, hence SET search_path: a trigger that calls this by its qualified name, from
-- a session that does not know taskq, must reach the same tables.
CREATE FUNCTION taskq_defer_jobs(
    jobs jsonb,
    on_conflict text DEFAULT 'raise',
    share_notification boolean DEFAULT false,
    numbers_checked boolean DEFAULT false
)
RETURNS SETOF bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    faulty boolean;
    wrong record;
    waiting record;
    only_job jsonb;
    is_plain boolean;
    has_expiry boolean := false;
    new record;
    new_id bigint;
    -- Whether a job may meet another one, and whether one is refused for that.
    may_conflict boolean;
    conflicts boolean;
    place integer := 0;
    made bigint [] := '{}';
    made_jobs jsonb [] := '{}';
    new_queue text;
    new_time timestamptz;
    new_due boolean;
    -- Waits count from the call. now() is when the transaction began, which may be long ago.
    called_at CONSTANT timestamptz := clock_timestamp();
    known_keys CONSTANT text [] := ARRAY[
        'task_name', 'args', 'queue_name', 'priority', 'lock', 'queueing_lock', 'idempotency_key', 'limit',
        'limit_key', 'scheduled_at', 'schedule_in', 'metadata', 'tags', 'awaited', 'expire_at', 'expire_in'
    ];
    -- Of a job, or of any in an array. A hundred years are as long as a wait may be; one that is over is none.
    wrong_wait CONSTANT jsonpath := jsonpath '$[*] ? (
        @.schedule_in.type() != "null" && !(
            @.schedule_in.type() == "number" && @.schedule_in >= -3153600000 && @.schedule_in <= 3153600000
            && !(@.scheduled_at.type() != "null")
        )
    )';
BEGIN
    IF on_conflict IS NULL OR on_conflict NOT IN ('raise', 'skip', 'replace') THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format('taskq_defer_jobs: on_conflict is %L', on_conflict),
            HINT = 'It is ''raise'', ''skip'' or ''replace'': what to do with a job whose queueing lock a job '
                'that waits already has.';
    END IF;

    IF jobs IS NULL OR jsonb_typeof(jobs) <> 'array' THEN
        RAISE invalid_parameter_value USING
            MESSAGE = format(
                'taskq_defer_jobs takes a JSON array of jobs, not %s',
                coalesce(jsonb_typeof(jobs), 'null')
            ),
            HINT = 'Wrap a single job: ''[{"task_name": "...", "args": {...}}]''.';
    END IF;

    IF getdatabaseencoding() <> 'UTF8' THEN
        -- What UTF8 lacks no worker can read, in a row or in a notification: this refuses it.
        PERFORM convert_to(jobs::text, 'UTF8');
    END IF;

    -- A job by itself, as most calls have: expressions take two thirds of the time of the queries below,
    -- which also say what is wrong with it, or who waits already. The server's processor time for a call of one
    -- job, PostgreSQL 15: 138 us by the queries and 117 by these expressions; 110 if they had an INSERT of
    -- their own, in which every new column would have to be as well.
    only_job := jobs -> 0;
    is_plain := jsonb_array_length(jobs) = 1
        AND jsonb_typeof(only_job) = 'object'
        AND jsonb_typeof(only_job -> 'task_name') = 'string'
        AND only_job - known_keys = '{}'
        AND NOT only_job ?| ARRAY[
            'queueing_lock', 'idempotency_key', 'limit', 'limit_key', 'metadata', 'tags', 'expire_at', 'expire_in'
        ]
        AND NOT (only_job ? 'schedule_in' AND jsonb_path_exists(only_job, wrong_wait))
        AND NOT jsonb_path_exists(only_job, 'strict $.**{202}')
        -- Without a number of more than 4,300 digits, which takes as many characters.
        AND (numbers_checked OR octet_length(jobs::text) <= 4300);

    IF NOT is_plain THEN
        -- jsonb_to_recordset passes over what it does not know: a misspelt key would be lost in silence. What
        -- these find wrong, the query below explains. Keys by a path ($[*].keyvalue()) cost three times as much.
        faulty := jsonb_path_exists(
            jobs,
            '$[*] ? (@.type() != "object" || !(@.task_name.type() == "string"))'
        )
        OR (jsonb_path_exists(jobs, '$[*].schedule_in') AND jsonb_path_exists(jobs, wrong_wait));

        IF NOT faulty THEN
            faulty := EXISTS (
                SELECT
                FROM jsonb_array_elements(jobs) AS element (job)
                WHERE
                    element.job - known_keys <> '{}'
                    -- No worker can read it. The length as text says where to look, as each look costs more; but it
                    -- makes a batch 5 % slower as well, and so taskq's own calls have looked themselves.
                    OR (
                        NOT numbers_checked
                        AND octet_length(element.job::text) > 4300
                        AND jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                    )
            )
            -- Nor this.
            OR jsonb_path_exists(jobs, 'strict $.**{203}');
        END IF;

        IF faulty THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN jsonb_typeof(element.job) <> 'object'
                        THEN format('is not a JSON object but a %s', jsonb_typeof(element.job))
                    WHEN jsonb_typeof(element.job -> 'task_name') IS DISTINCT FROM 'string'
                        THEN 'has no task_name, or one that is not a string'
                    WHEN jsonb_path_exists(element.job, 'strict $.**{202}')
                        THEN format(
                            'has %s that are nested more than 201 deep',
                            CASE
                                WHEN jsonb_path_exists(element.job -> 'metadata', 'strict $.**{201}') THEN 'metadata'
                                ELSE 'args'
                            END
                        )
                    WHEN jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                        THEN 'has a number of more than 4,300 digits, which Python does not read'
                    WHEN element.job - known_keys <> '{}'
                        THEN (
                            SELECT format('has the unknown key %s', to_json(key))
                            FROM jsonb_object_keys(element.job - known_keys) AS key
                            LIMIT 1
                        )
                    WHEN element.job ->> 'scheduled_at' IS NOT NULL
                        THEN 'has both scheduled_at and schedule_in'
                    ELSE format(
                        'has schedule_in %s, which is no number of seconds, or more than a hundred years',
                        left(element.job ->> 'schedule_in', 100)
                    )
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            WHERE
                CASE
                    WHEN jsonb_typeof(element.job) <> 'object' THEN true
                    ELSE
                        jsonb_typeof(element.job -> 'task_name') IS DISTINCT FROM 'string'
                        OR element.job - known_keys <> '{}'
                        OR jsonb_path_exists(element.job, wrong_wait)
                        OR jsonb_path_exists(element.job, 'strict $.**{202}')
                        OR jsonb_path_exists(element.job, 'strict $.** ? (@ >= 1e4300 || @ <= -1e4300)')
                END
            ORDER BY element.ordinality
            LIMIT 1;

            RAISE invalid_parameter_value USING
                MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, wrong.fault),
                HINT = 'A job has task_name, and may have args, queue_name, priority, lock, queueing_lock, '
                    'idempotency_key, limit and limit_key, scheduled_at or schedule_in, expire_at or expire_in, '
                    'metadata, tags and awaited.';
        END IF;

        IF jsonb_path_exists(jobs, '$[*] ? (@.limit != null || @.limit_key != null)') THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN element.job ->> 'limit' IS NULL THEN 'has a limit_key and no limit'
                    WHEN position(':' IN element.job ->> 'limit') > 0
                        THEN format('has the limit %s, with a colon', element.job -> 'limit')
                    ELSE format(
                        'has a limit, or a limit and a limit_key, of %s characters',
                        char_length(concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key'))
                    )
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            WHERE
                (element.job ->> 'limit' IS NULL AND element.job ->> 'limit_key' IS NOT NULL)
                OR element.job ->> 'limit' = ''
                OR position(':' IN element.job ->> 'limit') > 0
                OR char_length(concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key')) > 500
            ORDER BY element.ordinality
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, left(wrong.fault, 200)),
                    HINT = 'A limit has a name without a colon, as in tenant; with a limit_key, as in acme, both and '
                        'the colon between them have at most 500 characters.';
            END IF;
        END IF;

        has_expiry := jsonb_path_exists(jobs, '$[*] ? (@.expire_at != null || @.expire_in != null)');

        IF has_expiry THEN
            SELECT
                judged.index,
                judged.fault
            INTO wrong
            FROM (
                SELECT
                    element.ordinality - 1 AS index,
                    CASE
                        WHEN element.job ->> 'expire_at' IS NOT NULL AND element.job ->> 'expire_in' IS NOT NULL
                            THEN 'has both expire_at and expire_in'
                        WHEN
                            element.job ->> 'expire_in' IS NOT NULL
                            AND NOT jsonb_path_exists(
                                element.job,
                                '$.expire_in ? (@.type() == "number" && @ > 0 && @ <= 3153600000)'
                            )
                            THEN format(
                                'has expire_in %s, which is no number of seconds above 0, or more than a hundred years',
                                left(element.job ->> 'expire_in', 100)
                            )
                        WHEN
                            (element.job ->> 'expire_at')::timestamptz < '0002-01-01T00:00:00Z'
                            OR (element.job ->> 'expire_at')::timestamptz >= '9999-01-01T00:00:00Z'
                            THEN format('has expire_at %s, which is not in the years 2 to 9998', element.job ->> 'expire_at')
                        WHEN
                            coalesce(
                                (element.job ->> 'expire_at')::timestamptz,
                                called_at + make_interval(secs => (element.job ->> 'expire_in')::double precision)
                            ) <= coalesce(
                                (element.job ->> 'scheduled_at')::timestamptz,
                                called_at + make_interval(secs => (element.job ->> 'schedule_in')::double precision)
                            )
                            THEN format(
                                'expires (%s) before it may start (%s)',
                                coalesce(
                                    'expire_at ' || (element.job ->> 'expire_at'),
                                    'expire_in ' || (element.job ->> 'expire_in')
                                ),
                                coalesce(
                                    'scheduled_at ' || (element.job ->> 'scheduled_at'),
                                    'schedule_in ' || (element.job ->> 'schedule_in')
                                )
                            )
                    END AS fault
                FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            ) AS judged
            WHERE judged.fault IS NOT NULL
            ORDER BY judged.index
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, left(wrong.fault, 200)),
                    HINT = 'A job expires at expire_at, a timestamp with its offset from UTC, or expire_in so many seconds '
                        'from the call: after the time at which it may start.';
            END IF;
        END IF;

        IF jsonb_path_exists(jobs, '$[*] ? (exists(@.metadata) || exists(@.tags))') THEN
            SELECT
                element.ordinality - 1 AS index,
                CASE
                    WHEN jsonb_typeof(element.job -> 'metadata') NOT IN ('object', 'null')
                        THEN format('has metadata of type %s', jsonb_typeof(element.job -> 'metadata'))
                    WHEN jsonb_typeof(element.job -> 'tags') NOT IN ('array', 'null')
                        THEN format('has tags of type %s', jsonb_typeof(element.job -> 'tags'))
                    WHEN element.job -> 'tags' -> 100 IS NOT NULL
                        THEN 'has more than 100 tags'
                    ELSE format('has the tag %s, which is no string of 1 to 500 characters', left(odd.tag, 100))
                END AS fault
            INTO wrong
            FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
            LEFT JOIN LATERAL (
                SELECT tag.value::text AS tag
                FROM jsonb_array_elements(
                    CASE WHEN jsonb_typeof(element.job -> 'tags') = 'array' THEN element.job -> 'tags' END
                ) AS tag (value)
                WHERE
                    jsonb_typeof(tag.value) <> 'string'
                    OR char_length(tag.value #>> '{}') NOT BETWEEN 1 AND 500
                LIMIT 1
            ) AS odd ON true
            WHERE
                jsonb_typeof(element.job -> 'metadata') NOT IN ('object', 'null')
                OR jsonb_typeof(element.job -> 'tags') NOT IN ('array', 'null')
                OR element.job -> 'tags' -> 100 IS NOT NULL
                OR odd.tag IS NOT NULL
            ORDER BY element.ordinality
            LIMIT 1;

            IF FOUND THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format('taskq_defer_jobs: job %s of the array %s', wrong.index, wrong.fault),
                    HINT = 'The metadata of a job are an object, its tags an array of at most 100 strings.';
            END IF;

            -- Each tag once, where it came first.
            jobs := (
                SELECT
                    jsonb_agg(
                        CASE
                            WHEN element.job ->> 'tags' IS NULL THEN element.job
                            ELSE jsonb_set(element.job, '{tags}', coalesce(once.tags, 'null'))
                        END
                        ORDER BY element.ordinality
                    )
                FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
                CROSS JOIN LATERAL (
                    SELECT jsonb_agg(tag.value ORDER BY tag.first) AS tags
                    FROM (
                        SELECT
                            each.value,
                            min(each.ordinality) AS first
                        FROM jsonb_path_query(element.job, '$.tags[*]') WITH ORDINALITY AS each (value, ordinality)
                        GROUP BY each.value
                    ) AS tag
                ) AS once
            );
        END IF;
    END IF;

    IF on_conflict = 'replace' THEN
        SELECT element.ordinality - 1 AS index
        INTO wrong
        FROM jsonb_array_elements(jobs) WITH ORDINALITY AS element (job, ordinality)
        WHERE element.job ->> 'queueing_lock' IS NULL
        ORDER BY element.ordinality
        LIMIT 1;

        IF FOUND THEN
            RAISE invalid_parameter_value USING
                MESSAGE = format('taskq_defer_jobs: job %s of the array has no queueing_lock', wrong.index),
                HINT = 'By it on_conflict ''replace'' finds the job that waits.';
        END IF;
    END IF;

    may_conflict := NOT is_plain AND (
        jsonb_path_exists(jobs, '$[*] ? (@.idempotency_key != null)')
        OR (on_conflict <> 'raise' AND jsonb_path_exists(jobs, '$[*] ? (@.queueing_lock != null)'))
    );

    IF may_conflict THEN
        -- One after the other, as if each were a call of its own: of those in one array that conflict, the later
        -- one finds the earlier one.
        <<each_job>>
        FOR new IN SELECT * FROM taskq_new_jobs(jobs, called_at) LOOP
            IF char_length(new.idempotency_key) NOT BETWEEN 1 AND 500 THEN
                RAISE invalid_parameter_value USING
                    MESSAGE = format(
                        'taskq_defer_jobs: job %s of the array has an idempotency_key of %s characters',
                        place, char_length(new.idempotency_key)
                    ),
                    HINT = 'It has 1 to 500. For what is longer, take a hash of it.';
            END IF;

            -- Round again if one came in that a statement could not see: the next ones can.
            LOOP
                IF new.idempotency_key IS NOT NULL THEN
                    SELECT id
                    INTO new_id
                    FROM taskq_jobs
                    WHERE idempotency_key = new.idempotency_key;

                    EXIT WHEN FOUND;
                END IF;

                IF on_conflict = 'replace' THEN
                    -- It waits for a worker that claims the job in this moment, and then finds it no more. A
                    -- worker passes over the job while it is locked here, and then looks at it as it is by now.
                    IF new.idempotency_key IS NULL THEN
                        SELECT
                            id,
                            lock
                        INTO waiting
                        FROM taskq_jobs
                        WHERE status = 'todo' AND queueing_lock = new.queueing_lock
                        FOR UPDATE;
                    ELSE
                        BEGIN
                            -- Not one that came to have the key since the statement before.
                            UPDATE taskq_jobs
                            SET idempotency_key = new.idempotency_key
                            WHERE
                                status = 'todo' AND queueing_lock = new.queueing_lock
                                AND idempotency_key IS DISTINCT FROM new.idempotency_key
                            RETURNING id, lock INTO waiting;
                        EXCEPTION
                            -- Another one came to have it. Where snapshots are kept, that is not to be seen.
                            WHEN unique_violation THEN
                                IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
                                    RAISE serialization_failure USING
                                        MESSAGE = format(
                                            'another transaction has deferred a job with the idempotency key %L',
                                            new.idempotency_key
                                        );
                                END IF;

                                CONTINUE;
                        END;
                    END IF;

                    IF FOUND THEN
                        -- As if it were new, and waits from now on. Not its id, and not deferred_at, on whose order
                        -- retention relies; nor claim, which only grows; nor a key, if the new one has none.
                        UPDATE taskq_jobs
                        SET
                            task_name = new.task_name,
                            args = new.args,
                            queue_name = new.queue_name,
                            priority = new.priority,
                            lock = new.lock,
                            limit_key = new.limit_key,
                            paused = null,
                            scheduled_at = coalesce(new.scheduled_at, called_at),
                            due = new.due,
                            metadata = new.metadata,
                            tags = new.tags,
                            expires_at = new.expires_at,
                            worker_id = null,
                            started_at = null,
                            attempt = 0,
                            crashes = 0,
                            given_back = null,
                            progress = null
                        WHERE id = waiting.id;

                        -- It may have been the head of its lock, and not be any more.
                        IF waiting.lock IS NOT NULL THEN
                            PERFORM taskq_open_locks(ARRAY[waiting.lock]);
                        END IF;

                        new_id := waiting.id;
                        made := array_append(made, new_id);
                        made_jobs := array_append(made_jobs, jobs -> place);
                        EXIT;
                    END IF;
                ELSIF new.queueing_lock IS NOT NULL THEN
                    SELECT
                        id,
                        queueing_lock
                    INTO waiting
                    FROM taskq_jobs
                    WHERE status = 'todo' AND queueing_lock = new.queueing_lock;

                    IF FOUND THEN
                        IF new.idempotency_key IS NOT NULL THEN
                            -- It may have come since the statement before, with the key as well.
                            SELECT id
                            INTO new_id
                            FROM taskq_jobs
                            WHERE idempotency_key = new.idempotency_key;

                            EXIT WHEN FOUND;
                        END IF;

                        conflicts := true;
                        EXIT each_job WHEN on_conflict = 'raise';

                        new_id := null;
                        EXIT;
                    END IF;
                END IF;

                -- Only here: ON CONFLICT makes every insert write 48 bytes more WAL.
                INSERT INTO taskq_jobs (
                    task_name, args, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key,
                    scheduled_at, due, metadata, tags, awaited, expires_at
                )
                VALUES (
                    new.task_name, new.args, new.queue_name, new.priority, new.lock, new.queueing_lock,
                    new.idempotency_key, new.limit_key, new.scheduled_at, new.due, new.metadata, new.tags, new.awaited,
                    new.expires_at
                )
                ON CONFLICT DO NOTHING
                RETURNING id INTO new_id;

                IF FOUND THEN
                    made := array_append(made, new_id);
                    made_jobs := array_append(made_jobs, jobs -> place);
                    EXIT;
                END IF;
            END LOOP;

            RETURN NEXT new_id;
            place := place + 1;
        END LOOP;

        jobs := to_jsonb(made_jobs);
    ELSIF NOT is_plain AND jsonb_path_exists(jobs, '$[*].queueing_lock') THEN
        -- The unique index would refuse it, and cannot say who waits.
        SELECT
            job.id,
            job.queueing_lock
        INTO waiting
        FROM jsonb_array_elements(jobs) AS element (value)
        CROSS JOIN LATERAL (
            SELECT
                todo.id,
                todo.queueing_lock
            FROM taskq_jobs AS todo
            WHERE todo.status = 'todo' AND todo.queueing_lock = element.value ->> 'queueing_lock'
            LIMIT 1
        ) AS job
        LIMIT 1;

        conflicts := FOUND;
    END IF;

    IF conflicts AND on_conflict = 'raise' THEN
        -- Those of this call go with it.
        waiting.id := CASE WHEN waiting.id <> ALL(made) THEN waiting.id END;

        RAISE unique_violation USING
            MESSAGE = format(
                '%s waits already with the queueing lock %L',
                coalesce('job ' || waiting.id, 'another job of the array'), waiting.queueing_lock
            ),
            DETAIL = json_build_object('job_id', waiting.id, 'queueing_lock', waiting.queueing_lock),
            CONSTRAINT = 'taskq_jobs_queueing_lock';
    END IF;

    IF NOT may_conflict THEN
        -- The ids, and so the defer order, follow the array.
        RETURN QUERY
        INSERT INTO taskq_jobs (
            task_name, args, queue_name, priority, lock, queueing_lock, idempotency_key, limit_key, scheduled_at,
            due, metadata, tags, awaited, expires_at
        )
        SELECT * FROM taskq_new_jobs(jobs, called_at)
        RETURNING taskq_jobs.id;
    END IF;

    IF is_plain THEN
        new_queue := coalesce(only_job ->> 'queue_name', 'default');
        new_time := (only_job ->> 'scheduled_at')::timestamptz;

        IF only_job ? 'schedule_in' THEN
            new_time := coalesce(
                new_time, called_at + make_interval(secs => (only_job ->> 'schedule_in')::double precision)
            );
        END IF;

        new_due := coalesce(new_time <= called_at, true);

        IF new_due AND only_job ->> 'lock' IS NOT NULL THEN
            PERFORM taskq_open_locks(ARRAY[only_job ->> 'lock'], false);
        END IF;

        IF
            NOT (share_notification AND new_due)
            OR pg_try_advisory_xact_lock(hashtextextended(taskq_channel() || ' ' || new_queue, 0))
        THEN
            PERFORM taskq_notify(new_queue, new_due, new_time);
        END IF;

        RETURN;
    END IF;

    IF jsonb_path_exists(jobs, '$[*].lock') THEN
        PERFORM
            taskq_open_locks(
                ARRAY(
                    SELECT element.job ->> 'lock'
                    FROM jsonb_array_elements(jobs) AS element (job)
                    WHERE element.job ->> 'lock' IS NOT NULL
                ),
                false
            );
    END IF;

    IF jsonb_path_exists(jobs, '$[*] ? (@.limit != null)') THEN
        PERFORM
            taskq_open_limits(
                ARRAY(
                    SELECT concat_ws(':', element.job ->> 'limit', element.job ->> 'limit_key')
                    FROM jsonb_array_elements(jobs) AS element (job)
                    WHERE element.job ->> 'limit' IS NOT NULL AND element.job ->> 'lock' IS NULL
                ),
                false
            );
    END IF;

    IF has_expiry THEN
        -- Idle workers are to know when to end them.
        PERFORM taskq_notify(expiring.name, false, expiring.at)
        FROM (
            SELECT
                coalesce(element.job ->> 'queue_name', 'default') AS name,
                min(
                    coalesce(
                        (element.job ->> 'expire_at')::timestamptz,
                        called_at + make_interval(secs => (element.job ->> 'expire_in')::double precision)
                    )
                ) AS at
            FROM jsonb_array_elements(jobs) AS element (job)
            GROUP BY coalesce(element.job ->> 'queue_name', 'default')
        ) AS expiring
        WHERE expiring.at IS NOT NULL;
    END IF;

    -- One notification per queue, whatever the number of jobs; two if some are for later. They leave
    -- with the commit, and those of one transaction that are alike leave once.
    PERFORM taskq_notify(queue.name, queue.due, queue.scheduled_at)
    FROM (
        SELECT
            job.name,
            coalesce(job.scheduled_at <= called_at, true) AS due,
            min(job.scheduled_at) AS scheduled_at
        FROM (
            SELECT
                coalesce(element.job ->> 'queue_name', 'default') AS name,
                coalesce(
                    (element.job ->> 'scheduled_at')::timestamptz,
                    called_at + make_interval(secs => (element.job ->> 'schedule_in')::double precision)
                ) AS scheduled_at
            FROM jsonb_array_elements(jobs) AS element (job)
        ) AS job
        GROUP BY job.name, coalesce(job.scheduled_at <= called_at, true)
    ) AS queue
    -- PostgreSQL lets transactions that notify commit only one after the other. Twenty clients that
    -- defer one job at a time: 2,023 jobs/s if each notifies, 4,935 if one does for all, 4,940 if none
    -- does (`python -m benchmarks --only storm`, PostgreSQL 18, medians of one run on two busy cores).
    -- Of those that run at once one notifies for all; a worker that is notified checks again until all
    -- that ran then have ended. Only for calls that are a transaction of their own: one that stays open for
    -- long would silence the others.
    WHERE
        CASE
            WHEN share_notification AND queue.due
                THEN
                    pg_try_advisory_xact_lock(
                        hashtextextended(taskq_channel() || ' ' || queue.name, 0)
                    )
            ELSE true
        END;
END;
$$;

COMMENT ON FUNCTION taskq_defer_jobs(jsonb, text, boolean, boolean) IS
    'Defers the jobs of a JSON array, all or none, and returns their ids in the order of the array; '
    'with on_conflict ''skip'' null in the place of a job whose queueing lock is taken, and with ''replace'' the '
    'id of the job that waits with it, which becomes the new one. '
    'With share_notification, of calls that run at once one notifies for all: only for a call that is a '
    'transaction of its own. With numbers_checked no number is looked at: the caller knows that none has '
    'more than 4,300 digits. '
    'A job with an idempotency_key that a job has is not deferred, and has that one''s id in its place. '
    'Keys of a job: task_name, and optionally args, queue_name, priority, lock, queueing_lock, idempotency_key, '
    'limit (the name of one) and limit_key (a room of its own in it), scheduled_at (with an offset from UTC) or '
    'schedule_in (seconds from the call, by the server''s clock), expire_at or expire_in (likewise: by when it is to '
    'begin), metadata (an object), tags (strings) and awaited (a '
    'boolean: whether its end is notified).';
