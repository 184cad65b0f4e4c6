"""Jobs that are kept no longer go: those, all of those, from one worker at a time, and a few at once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from taskq import App, queries
from taskq.exceptions import InvalidOption
from taskq.job import JobStatus
from taskq.queries.workers import RegisteredWorker
from taskq.retention import FinalStatus
from taskq.worker import pruner
from taskq.worker.connection import WorkerConnection
from taskq.worker.options import WorkerArguments, WorkerOptions
from taskq.worker.registration import Registration
from tests.worker.conftest import Drain, Start, until

DAY = timedelta(days=1)


def insert(connection: psycopg.Connection, status: str, age: str, jobs: int = 1) -> int:
    """Insert jobs that were deferred and finished so long ago, each with a failed attempt."""
    row = connection.execute(
        """
        WITH job AS (
            INSERT INTO taskq_jobs
                (
                    queue_name, task_name, args, status, worker_id, claim, started_at,
                    deferred_at, finished_at
                )
            SELECT
                'default', 'noop', '{}', %(status)s::taskq_job_status, 1, 1, now(),
                now() - %(age)s::text::interval,
                CASE WHEN %(status)s::text NOT IN ('todo', 'doing') THEN now() - %(age)s::text::interval END
            FROM generate_series(1, %(jobs)s::integer)
            RETURNING id
        ), attempt AS (
            INSERT INTO taskq_failed_attempts
            SELECT id, 1, 1, 1, now(), 'E', '', '' FROM job
        )
        SELECT max(id) FROM job
        """,
        {"status": status, "age": age, "jobs": jobs},
    ).fetchone()
    assert row
    return int(row[0])


def left(connection: psycopg.Connection) -> list[int]:
    """The ids of the jobs that are left; their failed attempts are, too."""
    rows = connection.execute(
        """
        SELECT job.id, attempt.job_id
        FROM taskq_jobs AS job FULL JOIN taskq_failed_attempts AS attempt ON job.id = attempt.job_id
        ORDER BY job.id
        """
    ).fetchall()
    assert [row for row in rows if row[0] != row[1]] == []
    return [row[0] for row in rows]


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled", "aborted"])
async def test_a_worker_deletes_jobs_that_are_kept_no_longer_and_no_others(
    app: App,
    start: Start,
    connection: psycopg.Connection,
    status: FinalStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queries.retention, "_MAX_SCANNED", 3)
    kept: list[int] = []
    for other in JobStatus:
        old = insert(connection, other, "25 h", 150)
        if other != status:
            kept += range(old - 149, old + 1)
    kept += [insert(connection, other, "23 h") for other in JobStatus]
    await start(app, queues=["another"], retention={status: DAY})
    await until(lambda: left(connection) == kept, "the deletion")


async def test_nothing_is_deleted_if_no_retention_is_given(
    app: App, drain: Drain, connection: psycopg.Connection
) -> None:
    old = insert(connection, "succeeded", "1000 days")
    await drain(app)
    await drain(app, retention={"succeeded": None})
    assert left(connection) == [old]
    assert connection.execute("SELECT FROM taskq_retention").fetchall() == []


async def test_a_worker_keeps_jobs_as_its_app_says_unless_it_is_told_otherwise(
    database_url: str, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left_by(app: App, *statuses: str) -> None:
        connection.execute("DELETE FROM taskq_retention")
        worker = app.worker(install_signal_handlers=False)
        running = asyncio.create_task(worker.run())
        await until(
            lambda: (
                [row[0] for row in connection.execute("SELECT status FROM taskq_jobs ORDER BY id")]
                == list(statuses)
            ),
            str(statuses),
        )
        worker.stop()
        await running

    for status in ("aborted", "cancelled", "failed", "succeeded"):
        insert(connection, status, "3 days")
    async with App(database_url, retention={"succeeded": DAY, "failed": None}) as app:
        await left_by(app, "aborted", "cancelled", "failed")
    monkeypatch.setenv("TASKQ_WORKER_RETENTION", " failed = 2d, succeeded=4w ")
    async with App(database_url, retention={"cancelled": DAY}) as app:
        await left_by(app, "aborted", "cancelled")
    monkeypatch.delenv("TASKQ_WORKER_RETENTION")
    defaults: WorkerArguments = {"retention": {"aborted": DAY}}
    async with App(database_url, retention={"cancelled": DAY}, worker_defaults=defaults) as app:
        await left_by(app, "cancelled")


@pytest.mark.parametrize(
    ("retention", "message"),
    [
        ({"todo": DAY}, "'todo'.*succeeded.*failed"),
        ({"failed": timedelta(-1)}, "failed.*greater than or equal to 0"),
        ({"failed": "for ever"}, "{'failed': 'for ever'}"),
        ("succeeded=1", "'succeeded=1' does not say how long .*succeeded=1d,failed=4w"),
        ("succeeded:1d", "'succeeded:1d' does not say how long"),
    ],
)
def test_a_retention_that_makes_no_sense_is_refused(
    database_url: str, retention: Any, message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        App(database_url, retention=retention)
    with pytest.raises(InvalidOption, match=message):
        WorkerOptions.of({}, environ={"TASKQ_WORKER_RETENTION": retention})


def identity_of(worker_id: int) -> Registration:
    """A worker that is registered nowhere."""
    never = datetime.fromtimestamp(0, UTC)
    return Registration(
        "w",
        None,
        RegisteredWorker(id=worker_id, incarnation="", last_heartbeat=never, server_time=0.0),
    )


@pytest.fixture
async def registration(app: App) -> Registration:
    return identity_of(1)


def broken(error: BaseException) -> None:
    pytest.fail(f"the part broke: {error}")


def prune_as(app: App, registration: Registration, **options: Any) -> pruner.Pruner:
    telemetry = app.telemetry
    connection = WorkerConnection(app.database.async_engine, "pruning", telemetry=telemetry)
    given: dict[str, Any] = {"kept": {JobStatus.SUCCEEDED: DAY, JobStatus.FAILED: DAY}}
    return pruner.Pruner(
        connection, registration, telemetry=telemetry, **(given | {"interval": 0.2} | options)
    )


async def test_one_worker_prunes_at_a_time_and_another_takes_over_when_it_is_gone(
    app: App, connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleting: list[int] = []
    delete = queries.retention.delete_old_chunk

    def watched(*args: Any, **kwargs: Any) -> Any:
        row = connection.execute("SELECT worker_id FROM taskq_retention").fetchone()
        assert row
        deleting.append(row[0])
        return delete(*args, **kwargs)

    monkeypatch.setattr(queries.retention, "delete_old_chunk", watched)
    parts = {}
    for worker_id in (1, 2, 3):
        parts[worker_id] = prune_as(app, identity_of(worker_id))
        parts[worker_id].start(broken)
    await until(lambda: len(deleting) >= 6, "rounds")
    [first] = set(deleting)
    await parts[first].stop()
    # It leaves its turn to the others, and does not keep it until its time is over.
    assert connection.execute("SELECT leased_until <= now() FROM taskq_retention").fetchone() == (
        True,
    )
    await until(lambda: deleting[-1] != first, "another one")
    for part in parts.values():
        await part.stop()


async def test_the_workers_of_another_namespace_prune_by_themselves(
    app: App, database_url: str, start: Start, connection: psycopg.Connection
) -> None:
    insert(connection, "succeeded", "3 days")
    connection.execute("INSERT INTO taskq_retention VALUES (true, 99, now() + interval '1 day')")
    await start(app, retention={"succeeded": DAY})
    connection.execute("CREATE SCHEMA other")
    async with App(f"{database_url}&options=-csearch_path%3Dother") as other:
        await other.schema_manager.apply_schema_async()
        connection.execute("SET search_path = other")
        insert(connection, "succeeded", "3 days")
        part = prune_as(other, identity_of(1))
        part.start(broken)
        await until(lambda: left(connection) == [], "the deletion")
        await part.stop()
    connection.execute("SET search_path = public")
    assert len(left(connection)) == 1, "it is another worker's turn"


async def test_a_round_begins_where_nothing_was_left_by_the_one_before(
    app: App,
    connection: psycopg.Connection,
    registration: Registration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Jobs that are kept for ever are not looked at each time; a late one is found once an hour."""
    starts: list[int] = []
    delete = queries.retention.delete_old_chunk

    def watched(*args: Any, after: int, **kwargs: Any) -> Any:
        starts.append(after)
        return delete(*args, after=after, **kwargs)

    monkeypatch.setattr(queries.retention, "delete_old_chunk", watched)
    kept = insert(connection, "failed", "3 days", 20)
    recent = insert(connection, "succeeded", "24 h 30 min")
    insert(connection, "succeeded", "1 h")
    part = prune_as(app, registration, kept={JobStatus.SUCCEEDED: DAY}, interval=3600.0)
    part.start(broken)
    await until(lambda: starts, "a round")
    await until(lambda: len(left(connection)) == 21, "its end")
    assert starts == [0]
    # It was deferred long ago, and has only now run; as an earlier one that was not expected any more.
    late = insert(connection, "succeeded", "25 h")
    connection.execute("UPDATE taskq_jobs SET status = 'succeeded' WHERE id = %s", [kept])
    part._wakeup.set()
    await until(lambda: len(starts) == 2, "another round")
    assert starts[1] == recent - 1
    await until(lambda: late not in left(connection), "the late one")
    assert kept in left(connection)
    part._swept -= 3601
    part._wakeup.set()
    await until(lambda: kept not in left(connection), "the sweep")
    assert starts[2] == 0
    await part.stop()


async def test_a_round_that_fails_is_followed_by_the_next(
    app: App,
    connection: psycopg.Connection,
    registration: Registration,
    actions: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert(connection, "succeeded", "3 days")
    part = prune_as(app, registration)
    connection.execute("ALTER TABLE taskq_retention RENAME TO elsewhere")
    part.start(broken)
    await until(lambda: ("WARNING", "database_failed") in actions(), "a failure")
    connection.execute("ALTER TABLE elsewhere RENAME TO taskq_retention")
    await until(lambda: not left(connection), "the next round")
    await until(lambda: ("INFO", "jobs_pruned") in actions(), "its line in the log")
    await part.stop()


async def test_a_job_that_another_session_holds_keeps_no_other_waiting(
    app: App, database_url: str, connection: psycopg.Connection, registration: Registration
) -> None:
    first = insert(connection, "succeeded", "3 days", 3) - 2
    part = prune_as(app, registration)
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute("SELECT FROM taskq_jobs WHERE id = %s FOR UPDATE", [first])
        part.start(broken)
        await until(lambda: left(connection) == [first], "the others")

    def is_gone_after_a_sweep() -> bool:
        part._begin.clear()
        return not left(connection)

    await until(is_gone_after_a_sweep, "the one")
    await part.stop()


async def test_as_many_are_deleted_at_once_as_take_some_hundredths_of_a_second(
    app: App,
    connection: psycopg.Connection,
    registration: Registration,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    insert(connection, "succeeded", "3 days", 3000)
    sizes: list[int] = []
    takes = [0.0]
    delete = queries.retention.delete_old_chunk

    def timed(*args: Any, max_jobs: int, **kwargs: Any) -> Any:
        sizes.append(max_jobs)
        clock[0] += takes[0]
        return delete(*args, max_jobs=max_jobs, **kwargs)

    clock = [0.0]
    monkeypatch.setattr(queries.retention, "delete_old_chunk", timed)
    monkeypatch.setattr(registration, "now", lambda: clock[0])
    part = prune_as(app, registration, interval=3600.0)
    part.start(broken)
    await until(lambda: not left(connection), "the deletion")
    assert sizes[:5] == [100, 200, 400, 500, 500]
    takes[0] = 0.03
    sizes.clear()
    insert(connection, "succeeded", "3 days", 3000)
    part._wakeup.set()
    await until(lambda: sizes and sizes[-1] < 20, "small bites")
    assert [size for size in sizes if size > 20][-5:] == [500, 250, 125, 62, 31]
    await part.stop()
