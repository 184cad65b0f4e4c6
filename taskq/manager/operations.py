"""What is done in the database: each operation once, on a synchronous connection.

Here is what a worker does; ``operations_listing`` reads jobs, ``operations_changing`` is what an operator
does to them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from psycopg.errors import UntranslatableCharacter
from sqlalchemy import Connection

from taskq.job import FailedAttempt, Job, JobStatus, NewJob, to_json
from taskq.manager.connections import driver_of
from taskq.manager.encodings import as_ascii, codec_of, encoding_of, storable
from taskq.manager.errors import naming, too_large
from taskq.manager.operations_listing import STATUSES, job_of
from taskq.manager.outcome import (
    AvailabilityCheck,
    Outcome,
    Peer,
    RegisteredWorker,
    Rescued,
    RunningJob,
    outcomes_to_json,
)
from taskq_sql import attempts, claims, jobs, periodic, sessions, waking, workers
from taskq_sql.attempts import FinishJobsRow

T = TypeVar("T")

# In bytes: what PostgreSQL takes as one jsonb. A parameter of more than 1 GB would even end the connection.
LARGEST_DOCUMENT = 2**28 - 1

# In digits: Python reads no longer one.
_LONGEST_NUMBER = 4_300
_MANY_DIGITS = re.compile(f"[0-9]{{{_LONGEST_NUMBER // 2}}}")

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

    def defer(document: str) -> list[int | None]:
        rows = jobs.Querier(connection).defer_jobs(
            jobs=document,
            on_conflict=on_conflict,
            share_notification=own_transaction,
            numbers_checked=_has_short_numbers(document),
        )
        return [id_ or None for id_ in rows]

    document = _bounded(to_json(new_jobs, exclude_none=True).decode(), len(new_jobs))
    with naming(new_jobs):
        try:
            return defer(document)
        except UnicodeEncodeError:
            # A caller's connection has another client_encoding, and nothing was sent.
            return defer(as_ascii(document))


def register_worker(
    connection: Connection, name: str, queues: Sequence[str] | None, concurrency: int
) -> RegisteredWorker:
    """Register a worker, under a new id."""
    row = _only(
        workers.Querier(connection).register_worker(
            name=name, queue_names=_array(queues), concurrency=concurrency
        )
    )
    return RegisteredWorker(
        id=row.id,
        incarnation=row.incarnation,
        last_heartbeat=row.last_heartbeat,
        server_time=row.server_time,
    )


def beat(
    connection: Connection, registration: RegisteredWorker, *, stopping: bool
) -> RegisteredWorker | None:
    """Say that a worker is alive; None if it is not registered any more, and says nothing."""
    row = workers.Querier(connection).beat_worker(
        id=registration.id,
        incarnation=registration.incarnation,
        last_heartbeat=registration.last_heartbeat,
        stopping=stopping,
    )
    if row is None:
        return None
    return replace(registration, last_heartbeat=row.last_heartbeat, server_time=row.server_time)


def is_registered(connection: Connection, registration: RegisteredWorker) -> bool:
    """Whether a worker is registered where a connection leads to."""
    return bool(
        workers.Querier(connection).is_worker_registered(
            id=registration.id,
            incarnation=registration.incarnation,
            last_heartbeat=registration.last_heartbeat,
        )
    )


def list_peers(connection: Connection, stalled_after: float) -> dict[int, Peer]:
    """The workers that are alive, by their ids."""
    return {
        row.id: Peer(
            queues=None if row.serves_all else frozenset(row.queue_names),
            silent_for=row.silent_for,
        )
        for row in workers.Querier(connection).list_peers(stalled_after=stalled_after)
    }


def unregister_worker(connection: Connection, worker_id: int) -> None:
    """Remove a worker that leaves."""
    workers.Querier(connection).unregister_worker(id=worker_id)


def claim_jobs(
    connection: Connection,
    worker_id: int,
    queues: Sequence[str] | None,
    max_jobs: int,
    *,
    marks: Mapping[tuple[str, int], int] | None = None,
    heard: str | None = None,
) -> list[Job]:
    """Take the next jobs for a worker, at most ``max_jobs``.

    Of jobs without a lock only those behind the marks: by queue and priority, an id. The queue that it
    heard of, if it heard of one and of nothing else, is tried alone first, which is quicker.
    """
    marks = marks or {}
    if heard is not None and not marks:
        free = claims.Querier(connection).claim_free_jobs(
            worker_id=worker_id, queue_name=heard, max_jobs=max_jobs
        )
        if claimed := [job_of(row) for row in free]:
            return claimed
    rows = claims.Querier(connection).claim_jobs(
        worker_id=worker_id,
        queue_names=_array(queues),
        max_jobs=max_jobs,
        mark_queues=[queue for queue, _ in marks],
        mark_priorities=[priority for _, priority in marks],
        mark_ids=list(marks.values()),
    )
    return [job_of(row) for row in rows]


def has_ready_jobs(connection: Connection, queues: Sequence[str] | None) -> AvailabilityCheck:
    """Whether a claim is worth trying, now or when what is under way has ended."""
    row = _only(waking.Querier(connection).has_ready_jobs(queue_names=_array(queues)))
    return AvailabilityCheck(
        ready=row.ready,
        oldest_transaction=row.oldest_transaction,
        next_transaction=row.next_transaction,
    )


def promote_jobs(connection: Connection, max_jobs: int) -> tuple[int, datetime | None]:
    """Make jobs due whose time has come; returns how many, and when the next one is."""
    row = _only(waking.Querier(connection).promote_jobs(max_jobs=max_jobs))
    return row.jobs, row.next_at


def announce_locks(connection: Connection, locks: Iterable[str]) -> None:
    """Tell the workers that locks are free whose next job nobody here will claim."""
    waking.Querier(connection).announce_locks(locks=sorted(set(locks)))


def finish_jobs(
    connection: Connection, worker_id: int, outcomes: Sequence[Outcome]
) -> dict[int, JobStatus]:
    """Write how attempts ended, all or none; returns what is now of those still this worker's."""

    def finish(outcomes: Sequence[Outcome]) -> FinishJobsRow:
        document = _bounded(outcomes_to_json(outcomes), len(outcomes))
        return _only(
            attempts.Querier(connection).finish_jobs(worker_id=worker_id, outcomes=document)
        )

    try:
        ours = finish(outcomes)
    except UntranslatableCharacter:
        # What was said of an error is worth more than how it is written.
        driver = driver_of(connection)
        codec = codec_of(encoding_of(driver)) if driver is not None else None
        ours = finish([_storable(outcome, codec or "ascii") for outcome in outcomes])
    return dict(zip(ours.ids, map(STATUSES.__getitem__, ours.statuses), strict=True))


def list_doing_jobs(connection: Connection, worker_id: int) -> dict[tuple[int, int], RunningJob]:
    """What a worker has in hand, by job and claim."""
    return {
        (row.id, row.attempt): RunningJob(lock=row.lock, abort_requested=row.abort_requested)
        for row in attempts.Querier(connection).list_doing_jobs(worker_id=worker_id)
    }


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


def rescue_jobs(connection: Connection, stalled_after: float, max_crashes: int) -> list[Rescued]:
    """Take the jobs of dead workers back into the queue, or end them."""
    return [
        Rescued(
            job_id=row.id,
            status=JobStatus(row.status),
            crashes=row.crashes,
            had_begun=row.has_begun,
        )
        for row in attempts.Querier(connection).rescue_jobs(
            stalled_after=stalled_after, max_crashes=max_crashes
        )
    ]


def register_periodic(
    connection: Connection, schedules: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], int]:
    """Name the schedules of periods, by task and period; returns after which second their ticks count."""
    rows = periodic.Querier(connection).register_periodic(
        task_names=[task_name for task_name, _ in schedules],
        periodic_ids=[periodic_id for _, periodic_id in schedules],
        schedules=list(schedules.values()),
    )
    return {(row.task_name, row.periodic_id): row.counts_after for row in rows}


def defer_periodic(
    connection: Connection, new_job: NewJob, periodic_id: str, tick: int
) -> int | None:
    """Defer the job of a tick, unless another worker has; returns its id, None if it was not deferred."""
    ids = periodic.Querier(connection).defer_periodic(
        task_name=new_job.task_name,
        periodic_id=periodic_id,
        tick=tick,
        jobs=to_json([new_job], exclude_none=True).decode(),
    )
    return next(iter(ids), None) or None


def ping(connection: Connection) -> None:
    """Ask for a sign of life."""
    sessions.Querier(connection).ping_session()


def listen(connection: Connection) -> None:
    """Make a connection hear the notifications for workers."""
    sessions.Querier(connection).listen_session()


def _storable(outcome: Outcome, codec: str) -> Outcome:
    texts: dict[str, Any] = {
        name: storable(text, codec)
        for name in ("error_type", "error_message", "error_traceback")
        if (text := getattr(outcome, name)) is not None
    }
    return replace(outcome, **texts)


def _has_short_numbers(document: str) -> bool:
    # Of more digits than that, half as many follow at one of these places; a few thousand of them take some
    # microseconds. The server looks closely at what may be one, as a text of digits is no number.
    return len(document) <= _LONGEST_NUMBER or not any(
        _MANY_DIGITS.match(document, at) for at in range(0, len(document), _LONGEST_NUMBER // 2)
    )


def _bounded(document: str, jobs: int) -> str:
    # No byte more can come of a character than these; to count them all takes a copy.
    if 4 * len(document) > LARGEST_DOCUMENT and (size := len(document.encode())) > LARGEST_DOCUMENT:
        raise too_large(f"{size:,} bytes for {jobs} jobs, of {LARGEST_DOCUMENT:,} at most")
    return document


def _only(row: T | None) -> T:
    # For a query that answers with one row whatever it finds; sqlc cannot know that of it.
    assert row is not None  # noqa: S101
    return row


def _array(queues: Sequence[str] | None) -> list[str] | None:
    return None if queues is None else list(queues)
