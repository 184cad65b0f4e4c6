"""Why a job does not run: the first rule that applies says it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskq.job import JobStatus
from taskq.messages import counted, short_repr
from taskq.queries.connection import Connection, on_any
from taskq.queries.filters import ALIVE
from taskq.queries.pauses import Pause, PauseKind
from taskq.queries.rows import STATUSES, moment_of, not_found
from taskq.unreadable import Unreadable
from taskq_sql import job_explain

_querier = on_any(job_explain.Querier)

_Row = job_explain.ExplainJobRow
_LimitRow = job_explain.ExplainLimitsRow


@dataclass(frozen=True, slots=True)
class _Facts:
    """What was read of a job, and of the first of its lock: the rows and the limits, by id."""

    rows: Mapping[int, _Row]
    limits: Mapping[int, Sequence[_LimitRow]]


class WaitReason(StrEnum):
    """Why a job does not run, or that it does or did."""

    FINISHED = "finished"
    STALLED = "stalled"
    RUNNING = "running"
    EXPIRED = "expired"
    TASK_UNKNOWN = "task_unknown"
    SCHEDULED = "scheduled"
    BEHIND_IN_LOCK = "behind_in_lock"
    LOCK_HELD = "lock_held"
    QUEUE_PAUSED = "queue_paused"
    TASK_PAUSED = "task_paused"
    LIMIT_UNKNOWN = "limit_unknown"
    LIMIT_FULL = "limit_full"
    RATE_SPENT = "rate_spent"
    NO_WORKER = "no_worker"
    WORKERS_FULL = "workers_full"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a job does not run. What does not belong to the reason is None.

    Attributes:
        job_id: The job.
        reason: The reason; of several the first, in the order of ``WaitReason``.
        text: The same in a sentence.
        at: When it finished, was claimed, expired, or is scheduled for; or when the rate of its limit lets it
            start.
        blocked_by: The job that holds its lock, or comes first in it.
        limit_key: The limit that bars it, as in tenant:acme.
        running: Some of the jobs that run and fill that limit.
        worker_id: The worker that has the job, or the one that holds its lock.
        pause: The pause of its queue, or of its task.
        workers: How many workers that are alive serve its queue.
        because: Why the job that comes first in its lock waits.
    """

    job_id: int
    reason: WaitReason
    text: str
    at: datetime | None = None
    blocked_by: int | None = None
    limit_key: str | None = None
    running: tuple[int, ...] | None = None
    worker_id: int | None = None
    pause: Pause | None = None
    workers: int | None = None
    because: "Explanation | None" = None


def explain_job(connection: Connection, job_id: int, stalled_after: float) -> Explanation:
    """Say why a job does not run.

    Args:
        connection: The connection.
        job_id: The job.
        stalled_after: Seconds without a heartbeat after which a worker is dead.
    """
    querier = _querier(connection)
    rows = {row.id: row for row in querier.explain_job(id=job_id, stalled_after=stalled_after)}
    if job_id not in rows:
        raise not_found(job_id)
    facts = _Facts(rows, {id_: list(querier.explain_limits(id=id_)) for id_ in rows})
    return _explain(rows[job_id], facts)


def _explain(row: _Row, facts: _Facts) -> Explanation:
    explanations = (rule(row, facts) for rule in _RULES)
    return next(explanation for explanation in explanations if explanation is not None)


def _finished(row: _Row, facts: _Facts) -> Explanation | None:
    if STATUSES[row.status] in ALIVE:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.FINISHED,
        text=f"it has ended, as {row.status}"
        + (
            f": it had not begun by {_time(row.expires_at)}"
            if STATUSES[row.status] is JobStatus.CANCELLED and row.is_expired
            else ""
        ),
        at=row.finished_at,
    )


def _stalled(row: _Row, facts: _Facts) -> Explanation | None:
    if STATUSES[row.status] is not JobStatus.DOING or row.worker_is_alive:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.STALLED,
        text=f"worker {row.worker_id}, which has it, is dead: another worker will put it back into its queue",
        at=row.started_at,
        worker_id=row.worker_id,
    )


def _running(row: _Row, facts: _Facts) -> Explanation | None:
    if STATUSES[row.status] is not JobStatus.DOING:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.RUNNING,
        text=f"it runs in worker {row.worker_id}",
        at=row.started_at,
        worker_id=row.worker_id,
    )


def _expired(row: _Row, facts: _Facts) -> Explanation | None:
    if not row.is_expired:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.EXPIRED,
        text=f"it was to begin by {_time(row.expires_at)}, and will not any more: the next worker that "
        "comes to it ends it as cancelled",
        at=row.expires_at,
    )


def _task_unknown(row: _Row, facts: _Facts) -> Explanation | None:
    if not row.given_back:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.TASK_UNKNOWN,
        text=f"workers that do not know its task {short_repr(row.task_name)} have given it back, "
        f"{counted(row.given_back, 'time')} in a row: it waits for one that does"
        + ("" if row.is_due else f", and is offered again at {_time(row.scheduled_at)}"),
        at=None if row.is_due else row.scheduled_at,
    )


def _scheduled(row: _Row, facts: _Facts) -> Explanation | None:
    if row.is_due:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.SCHEDULED,
        text=f"it is scheduled for {_time(row.scheduled_at)}",
        at=row.scheduled_at,
    )


def _behind_in_lock(row: _Row, facts: _Facts) -> Explanation | None:
    if row.head_id in {0, row.id}:
        return None
    because = _explain(facts.rows[row.head_id], facts)
    return Explanation(
        job_id=row.id,
        reason=WaitReason.BEHIND_IN_LOCK,
        text=f"it is behind job {row.head_id} in its lock, which waits: {because.text}",
        blocked_by=row.head_id,
        because=because,
    )


def _lock_held(row: _Row, facts: _Facts) -> Explanation | None:
    if not row.holder_id:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.LOCK_HELD,
        text=f"its lock is held by job {row.holder_id}, in worker {row.holder_worker_id}",
        blocked_by=row.holder_id,
        worker_id=row.holder_worker_id,
    )


def _queue_paused(row: _Row, facts: _Facts) -> Explanation | None:
    if row.paused_at is None:
        return None
    pause = Pause(
        kind=PauseKind.QUEUE,
        name=row.queue_name,
        paused_at=row.paused_at,
        paused_by=row.paused_by,
        reason=row.pause_reason,
    )
    return _paused(row, WaitReason.QUEUE_PAUSED, pause)


def _task_paused(row: _Row, facts: _Facts) -> Explanation | None:
    if row.task_paused_at is None:
        return None
    pause = Pause(
        kind=PauseKind.TASK,
        name=row.task_name,
        paused_at=row.task_paused_at,
        paused_by=row.task_paused_by,
        reason=row.task_pause_reason,
    )
    return _paused(row, WaitReason.TASK_PAUSED, pause)


def _paused(row: _Row, reason: WaitReason, pause: Pause) -> Explanation:
    return Explanation(
        job_id=row.id,
        reason=reason,
        text=f"its {pause.kind} {short_repr(pause.name)} is paused, "
        f"since {_time(pause.paused_at)}{pause.note}",
        at=pause.paused_at,
        pause=pause,
    )


def _limit(row: _Row, facts: _Facts) -> Explanation | None:
    limit = next((limit for limit in facts.limits[row.id] if not limit.room), None)
    if limit is None:
        return None
    whose = f"the limit {limit.limit_key}" + (" of its queue" if limit.of_queue else "")
    if not limit.is_known:
        return Explanation(
            job_id=row.id,
            reason=WaitReason.LIMIT_UNKNOWN,
            text=f"no app has declared {whose}, so no job of it starts: a worker declares those of its app "
            "when it starts",
            limit_key=limit.limit_key,
        )
    if limit.next_at:
        at = moment_of(limit.next_at)
        return Explanation(
            job_id=row.id,
            reason=WaitReason.RATE_SPENT,
            text=f"the rate of {whose} lets the next job start at "
            f"{at.isoformat(sep=' ', timespec='milliseconds')}",
            at=at,
            limit_key=limit.limit_key,
        )
    running = tuple(limit.job_ids)
    more = limit.running - len(running)
    jobs = ", ".join(map(str, running)) + (f" and {more} more" if more else "")
    return Explanation(
        job_id=row.id,
        reason=WaitReason.LIMIT_FULL,
        text=f"{limit.running} of {limit.concurrency} of {whose} run: "
        f"{'job' if len(running) == 1 else 'jobs'} {jobs}",
        limit_key=limit.limit_key,
        running=running,
    )


def _no_worker(row: _Row, facts: _Facts) -> Explanation | None:
    if row.workers:
        return None
    return Explanation(
        job_id=row.id,
        reason=WaitReason.NO_WORKER,
        text=f"no worker that is alive serves its queue {short_repr(row.queue_name)}",
        workers=0,
    )


def _workers_full(row: _Row, facts: _Facts) -> Explanation | None:
    if row.full_workers < row.workers:
        return None
    those = (
        "the worker that serves" if row.workers == 1 else f"all {row.workers:,} workers that serve"
    )
    return Explanation(
        job_id=row.id,
        reason=WaitReason.WORKERS_FULL,
        text=f"{those} its queue {short_repr(row.queue_name)} "
        f"{'has' if row.workers == 1 else 'have'} as many jobs in hand as they run at once",
        workers=row.workers,
    )


def _ready(row: _Row, facts: _Facts) -> Explanation:
    return Explanation(
        job_id=row.id,
        reason=WaitReason.READY,
        text=f"it may be claimed at any moment: {counted(row.workers, 'worker')} can",
        workers=row.workers,
    )


# A reason to come is a rule here, in its place, a member of WaitReason and its columns in the query.
_RULES: Sequence[Callable[[_Row, _Facts], Explanation | None]] = (
    _finished,
    _stalled,
    _running,
    _expired,
    _task_unknown,
    _scheduled,
    _behind_in_lock,
    _lock_held,
    _queue_paused,
    _task_paused,
    _limit,
    _no_worker,
    _workers_full,
    _ready,
)


def _time(time: datetime | None) -> str:
    if time is None or isinstance(time, Unreadable):
        return str(time)
    return time.isoformat(sep=" ", timespec="seconds")
