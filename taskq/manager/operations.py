"""What is done to jobs in the database: each operation once, on a synchronous connection."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeVar

from sqlalchemy import Connection

from taskq.exceptions import JobNotFound
from taskq.job import FailedAttempt, Job, JobStatus, NewJob, to_json
from taskq.manager.outcome import Doing, Look, Outcome, Rescued, outcomes_to_json
from taskq_sql import attempts, claims, jobs, models, periodic, sessions, workers

T = TypeVar("T")

# What becomes of a job whose queueing lock a job that waits already has.
OnConflict = Literal["raise", "skip"]


def defer_jobs(
    connection: Connection,
    new_jobs: Sequence[NewJob],
    *,
    on_conflict: OnConflict,
    own_transaction: bool,
) -> list[int | None]:
    """Defer jobs, all or none; returns their ids in the same order, None for those skipped."""
    rows = jobs.Querier(connection).defer_jobs(
        jobs=to_json(new_jobs, exclude_none=True).decode(),
        on_conflict=on_conflict,
        share_notification=own_transaction,
    )
    return [id_ or None for id_ in rows]


def get_job(connection: Connection, job_id: int) -> Job:
    """Read a job."""
    row = jobs.Querier(connection).get_job(id=job_id)
    if row is None:
        raise JobNotFound(f"no job has the id {job_id}: it may have been deleted")
    return _job(row)


def list_jobs(connection: Connection, ids: Iterable[int]) -> list[Job]:
    """Read jobs, in the order of their ids."""
    return [_job(row) for row in jobs.Querier(connection).list_jobs(ids=list(ids))]


def list_alive_jobs(connection: Connection, ids: Iterable[int]) -> list[int]:
    """Of some jobs, those that have not ended."""
    return list(jobs.Querier(connection).list_alive_jobs(ids=list(ids)))


def list_failed_attempts(connection: Connection, job_id: int) -> list[FailedAttempt]:
    """Read why a job's attempts failed, the first one first."""
    return [
        FailedAttempt(
            claim=row.attempt,
            worker_id=row.worker_id,
            failed_at=row.failed_at,
            error_type=row.error_type,
            error_message=row.error_message,
            error_traceback=row.error_traceback,
        )
        for row in attempts.Querier(connection).list_failed_attempts(job_id=job_id)
    ]


def count_jobs(connection: Connection) -> dict[tuple[str, str, JobStatus], int]:
    """Count the jobs of each queue, task and status."""
    return {
        (row.queue_name, row.task_name, JobStatus(row.status)): row.jobs
        for row in jobs.Querier(connection).count_jobs()
    }


def cancel_job(connection: Connection, job_id: int, *, abort: bool, delete_job: bool) -> bool:
    """Cancel a job that waits, or ask the worker of one that runs to abort it."""
    row = jobs.Querier(connection).cancel_job(id=job_id, abort=abort, delete_job=delete_job)
    if row is None:
        raise JobNotFound(f"no job has the id {job_id}: it may have been deleted")
    return bool(row.done)


def register_worker(
    connection: Connection, name: str, queues: Sequence[str] | None
) -> tuple[int, float]:
    """Register a worker; returns its id, and the server's clock in seconds since 1970."""
    row = _only(workers.Querier(connection).register_worker(name=name, queue_names=_array(queues)))
    return row.id, row.server_time


def beat(
    connection: Connection, worker_id: int, name: str, queues: Sequence[str] | None
) -> tuple[bool, float]:
    """Say that a worker is alive; returns whether its row was still there, and the server's clock."""
    row = _only(
        workers.Querier(connection).beat_worker(id=worker_id, name=name, queue_names=_array(queues))
    )
    return row.registered, row.server_time


def list_colleagues(
    connection: Connection, stalled_after: float
) -> dict[int, frozenset[str] | None]:
    """The workers that are alive, each with the queues it serves (None: all)."""
    return {
        row.id: None if row.queue_names is None else frozenset(row.queue_names)
        for row in workers.Querier(connection).list_colleagues(stalled_after=stalled_after)
    }


def unregister_worker(connection: Connection, worker_id: int) -> None:
    """Remove a worker that leaves."""
    workers.Querier(connection).unregister_worker(id=worker_id)


def claim_jobs(
    connection: Connection,
    worker_id: int,
    queues: Sequence[str] | None,
    max_jobs: int,
    marks: Mapping[tuple[str, int], int] | None = None,
) -> list[Job]:
    """Take the next jobs for a worker, at most ``max_jobs``.

    Of jobs without a lock only those behind the marks: by queue and priority, an id.
    """
    marks = marks or {}
    rows = claims.Querier(connection).claim_jobs(
        worker_id=worker_id,
        queue_names=_array(queues),
        max_jobs=max_jobs,
        mark_queues=[queue for queue, _ in marks],
        mark_priorities=[priority for _, priority in marks],
        mark_ids=list(marks.values()),
    )
    return [_job(row) for row in rows]


def has_ready_jobs(connection: Connection, queues: Sequence[str] | None) -> Look:
    """Whether a claim is worth trying, now or when what is under way has ended."""
    row = _only(claims.Querier(connection).has_ready_jobs(queue_names=_array(queues)))
    return Look(
        ready=row.ready,
        oldest_transaction=row.oldest_transaction,
        next_transaction=row.next_transaction,
    )


def promote_jobs(connection: Connection, max_jobs: int) -> tuple[int, datetime | None]:
    """Make jobs due whose time has come; returns how many, and when the next one is."""
    row = _only(claims.Querier(connection).promote_jobs(max_jobs=max_jobs))
    return row.jobs, row.next_at


def announce_locks(connection: Connection, locks: Iterable[str]) -> None:
    """Tell the workers that locks are free whose next job nobody here will claim."""
    claims.Querier(connection).announce_locks(locks=sorted(set(locks)))


def finish_jobs(connection: Connection, worker_id: int, outcomes: Sequence[Outcome]) -> list[int]:
    """Write how attempts ended, all or none; returns the jobs that were still this worker's."""
    rows = attempts.Querier(connection).finish_jobs(
        worker_id=worker_id, outcomes=outcomes_to_json(outcomes)
    )
    return [row.id for row in rows]


def list_doing_jobs(connection: Connection, worker_id: int) -> dict[tuple[int, int], Doing]:
    """What a worker has in hand, by job and claim."""
    return {
        (row.id, row.attempt): Doing(lock=row.lock, abort_requested=row.abort_requested)
        for row in attempts.Querier(connection).list_doing_jobs(worker_id=worker_id)
    }


def rescue_jobs(connection: Connection, stalled_after: float, max_crashes: int) -> list[Rescued]:
    """Take the jobs of dead workers back into the queue, or end them."""
    return [
        Rescued(job_id=row.id, status=JobStatus(row.status), crashes=row.crashes)
        for row in attempts.Querier(connection).rescue_jobs(
            stalled_after=stalled_after, max_crashes=max_crashes
        )
    ]


def defer_periodic(
    connection: Connection, new_job: NewJob, periodic_id: str, tick: int
) -> int | None:
    """Defer the job of a tick, unless somebody has; returns its id, None if it was not deferred."""
    ids = periodic.Querier(connection).defer_periodic(
        task_name=new_job.task_name,
        periodic_id=periodic_id,
        tick=tick,
        jobs=to_json([new_job], exclude_none=True).decode(),
    )
    return next(iter(ids), None) or None


def tune_session(connection: Connection) -> None:
    """Prepare a connection for claims."""
    sessions.Querier(connection).tune_session()


def listen(connection: Connection) -> None:
    """Make a connection hear the notifications for workers."""
    sessions.Querier(connection).listen_session()


def _only(row: T | None) -> T:
    # For a query that answers with one row whatever it finds; sqlc cannot know that of it.
    assert row is not None  # noqa: S101
    return row


def _array(queues: Sequence[str] | None) -> list[str] | None:
    return None if queues is None else list(queues)


def _job(row: models.TaskqJob) -> Job:
    return Job(
        id=row.id,
        task_name=row.task_name,
        task_kwargs=row.args,
        queue=row.queue_name,
        priority=row.priority,
        lock=row.lock,
        queueing_lock=row.queueing_lock,
        status=JobStatus(row.status),
        scheduled_at=row.scheduled_at,
        deferred_at=row.deferred_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        attempt=row.attempt - row.uncounted,
        crashes=row.crashes,
        worker_id=row.worker_id,
        abort_requested=row.abort_requested,
        result=row.result,
        claim=row.attempt,
    )
