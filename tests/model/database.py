"""taskq's own queries on connections, its rows as jobs of the model, and time that is moved."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from psycopg.rows import class_row

from taskq import Limit, queries
from taskq.database import executor
from taskq.database.errors import translated
from taskq.job import JobStatus, NewJob
from taskq.limits import LimitFigures
from taskq.outcome import Outcome
from taskq.queries.connection import Connection
from taskq.queries.job_claim import ReadyRange
from taskq.queries.job_insert import OnConflict
from taskq.queries.rows import array_of
from tests.model.rules import MAX_CRASHES, End
from tests.model.state import Figures, Job
from tests.sql.sqlc import Query, Row, read_queries

P = ParamSpec("P")
T = TypeVar("T")

HOUR = 3600
# A worker that says nothing for so long is dead: time is moved by hours.
STALLED_AFTER = HOUR / 2
STATUSES = [status.value for status in JobStatus]

_ROWS = """
    SELECT
        id,
        task_name AS task,
        queue_name AS queue,
        priority,
        lock,
        queueing_lock,
        idempotency_key AS key,
        limit_key AS limit,
        floor(extract(EPOCH FROM scheduled_at - %(base)s::timestamptz) / 3600)::integer + %(hour)s AS at,
        floor(extract(EPOCH FROM expires_at - %(base)s::timestamptz) / 3600)::integer + %(hour)s AS expires,
        status::text AS status,
        worker_id AS worker,
        claim,
        attempt,
        crashes,
        abort_requested
    FROM taskq_jobs
    ORDER BY id
"""
_TABLES = (
    "taskq_jobs, taskq_workers, taskq_open_gates, taskq_limits, taskq_queue_limits, taskq_limit_rates, "
    "taskq_limit_gates, taskq_pauses, taskq_failed_attempts"
)


class Session:
    """taskq on one connection.

    Args:
        connection: It may be in a transaction, or in autocommit.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one of taskq's queries, with errors as taskq tells them."""
        with translated():
            return executor.run(self.connection, operation, *args, **kwargs)

    def query(self, name: str, /, **values: Any) -> list[Row]:
        """Run a query by its name, where what taskq makes of it does not matter."""
        return _queries()[name].run(self.connection, **values)

    def defer(self, jobs: Sequence[Job], on_conflict: OnConflict, hour: int) -> list[int | None]:
        """Defer jobs; returns their ids."""
        return self.run(
            queries.job_insert.defer_jobs,
            [_new_job(job, hour) for job in jobs],
            on_conflict=on_conflict,
            own_transaction=self.connection.autocommit,
        )

    def claim(
        self, worker: int, queue_names: Sequence[str] | None, max_jobs: int, run_length: int
    ) -> list[tuple[int, int]]:
        """Claim jobs, of some queues or of any; returns the id of each and the number of its claim."""

        def claim(connection: Connection) -> list[tuple[int, int]]:
            names = queue_names or queries.job_claim.list_ready_queues(connection, 20)
            jobs = queries.job_claim.claim_jobs(
                connection,
                worker,
                max_jobs,
                ranges=[ReadyRange(name) for name in names],
                run_length=run_length,
            )
            return [(job.id, job.claim) for job in jobs]

        return self.run(claim)

    def end(self, worker: int, ends: Sequence[End]) -> dict[int, str]:
        """Write how attempts of a worker ended; returns what has become of them."""
        ours = self.run(queries.job_finish.finish_jobs, worker, [_outcome(one) for one in ends])
        return {id_: status.value for id_, status in ours.items()}

    def cancel(self, job_id: int, *, abort: bool, delete_job: bool) -> bool:
        """Cancel a job, or ask for it to be aborted."""
        return self.run(queries.job_change.cancel_job, job_id, abort=abort, delete_job=delete_job)

    def retry(self, job_id: int, wait: int, queue: str | None, lock: str | None) -> bool:
        """Retry a job by hand; returns whether it was."""
        [row] = self.query(
            "RetryJobs",
            ids=[job_id],
            statuses=STATUSES,
            retry_at=None,
            retry_in=wait * HOUR if wait else None,
            priority=None,
            queue_name=queue,
            lock=lock,
        )
        return bool(row["done"])

    def reschedule(
        self, job_id: int, wait: int | None, queue: str | None, priority: int | None
    ) -> bool:
        """Reschedule a job; returns whether it was."""
        [row] = self.query(
            "RescheduleJobs",
            ids=[job_id],
            statuses=STATUSES,
            schedule_at=None,
            schedule_in=None if wait is None else wait * HOUR,
            priority=priority,
            queue_name=queue,
        )
        return bool(row["done"])

    def delete(self, job_id: int) -> bool:
        """Delete a job that does not run; returns whether it was."""
        return bool(self.query("DeleteJobs", ids=[job_id], statuses=STATUSES))

    def say(self, key: str, by_operator: bool, figures: Figures | None) -> None:
        """Say what a limit allows, or take back what an operator has said."""
        name = key.partition(":")[0]
        if not by_operator:
            assert figures is not None
            said = Limit(
                name,
                concurrency=figures.concurrency,
                rate=figures.rate,
                per=_per(figures),
                burst=figures.burst,
            )
            self.run(queries.limits.declare_limits, [said], {}, declared_by="app")
            return
        if figures is None:
            self.run(queries.limits.unset_limit, key)
        else:
            wanted = LimitFigures(
                figures.concurrency,
                figures.rate,
                _per(figures),
                figures.burst,
            )
            self.run(queries.limits.set_limit, key, wanted, declared_by="operator", is_known=True)
        self.run(queries.limits.open_limits, [name])

    def limit_queue(self, queue: str, key: str | None) -> None:
        """Have all jobs of a queue count in a limit, or in none."""
        if key is not None:
            document = json.dumps([{"queue_name": queue, "limit_key": key}])
            self.query("DeclareQueueLimits", queue_limits=document, declared_by="app")
            self.run(queries.limits.open_limits, [key])
        elif (former := self.run(queries.limits.unset_queue_limit, queue)) is not None:
            self.run(queries.limits.open_limits, [former])

    def pause(self, kind: str, name: str) -> None:
        """Pause a queue or a task."""
        self.query("Pause", kind=kind, name=name, paused_by=None, reason=None)

    def resume(self, kind: str, name: str) -> bool:
        """Resume a queue or a task; returns whether it was paused."""
        [row] = self.query("ResumeQueue" if kind == "queue" else "ResumeTask", name=name)
        return bool(row["done"])

    def promote(self) -> None:
        """What the timer of a worker does."""
        self.run(queries.job_schedule.promote_jobs, 1000)

    def rescue(self) -> dict[int, str]:
        """Rescue the jobs of dead workers; returns what has become of them."""
        rescued = self.run(queries.job_rescue.rescue_jobs, STALLED_AFTER, MAX_CRASHES)
        return {one.job_id: one.status.value for one in rescued}

    def has_ready_jobs(self) -> bool:
        """Whether a worker of all queues would claim."""
        return self.run(queries.job_claim.has_ready_jobs, array_of(None)).ready


class World:
    """The database: its rows, and its time.

    Args:
        main: A connection in autocommit.
    """

    def __init__(self, main: psycopg.Connection) -> None:
        self._main = main
        # A TRUNCATE takes ten times as long, where there is next to nothing.
        main.execute("; ".join(f"DELETE FROM {table}" for table in _TABLES.split(", ")).encode())
        [_, self._base] = (
            main.execute(
                "SELECT setval(pg_get_serial_sequence('taskq_jobs', 'id'), 1, false), clock_timestamp()::text"
            ).fetchone()
            or ()
        )

    def move_time(self, hours: int) -> None:
        """So many hours later: all that is written was so long before."""
        with self._main.transaction():
            for statement in _moves(self._main):
                self._main.execute(statement.encode(), {"by": f"{hours} hours"})

    def read_jobs(self, hour: int, connection: psycopg.Connection | None = None) -> dict[int, Job]:
        """The rows as jobs of the model, by their ids."""
        with (connection or self._main).cursor(row_factory=class_row(Job)) as cursor:
            cursor.execute(_ROWS.encode(), {"base": self._base, "hour": hour})
            return {job.id: job for job in cursor}

    def register(self, worker: int, concurrency: int) -> None:
        """A worker has registered."""
        self._main.execute(
            "INSERT INTO taskq_workers (id, name, concurrency) VALUES (%s, 'worker', %s)",
            [worker, concurrency],
        )

    def beat(self, worker: int) -> None:
        """A worker says that it is alive."""
        self._main.execute(
            "UPDATE taskq_workers SET last_heartbeat = clock_timestamp() WHERE id = %s", [worker]
        )


@contextmanager
def undone(session: Session) -> Iterator[None]:
    """A transaction that is rolled back: what would happen."""
    session.connection.execute("BEGIN")
    try:
        yield
    finally:
        session.connection.execute("ROLLBACK")


def _moves(connection: psycopg.Connection) -> list[str]:
    """What puts all times back, a statement for each table."""
    if not _statements:
        _statements.extend(
            f"UPDATE {table} SET "
            + ", ".join(f"{column} = {column} - %(by)s::interval" for column in columns)
            for table, columns in connection.execute(
                "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns "
                "WHERE table_schema = current_schema() AND data_type = 'timestamp with time zone' "
                "AND table_name || '' = ANY(%s) GROUP BY table_name",
                [_TABLES.split(", ")],
            ).fetchall()
        )
    return _statements


_statements: list[str] = []
_read: dict[str, Query] = {}


def _queries() -> dict[str, Query]:
    if not _read:
        _read.update(read_queries())
    return _read


def _new_job(job: Job, hour: int) -> NewJob:
    name, _, key = (job.limit or "").partition(":")
    return NewJob(
        task_name=job.task,
        args={},
        queue_name=job.queue,
        priority=job.priority,
        lock=job.lock,
        queueing_lock=job.queueing_lock,
        idempotency_key=job.key,
        limit=name or None,
        limit_key=key or None,
        schedule_in=None if job.at is None else (job.at - hour) * HOUR,
        expire_in=None if job.expires is None else (job.expires - hour) * HOUR,
    )


def _outcome(said: End) -> Outcome:
    values = asdict(said)
    wait = values.pop("retry_in")
    values["queue_name"] = values.pop("queue")
    return Outcome(
        **values | {"status": JobStatus(said.status)},
        retry_in=None if wait is None else wait * HOUR,
    )


def _per(figures: Figures) -> float | None:
    if figures.rate is None or figures.pace is None:
        return None
    return float(figures.rate * figures.pace * HOUR)
