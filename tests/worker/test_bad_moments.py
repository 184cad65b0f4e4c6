"""A bad moment of the database: logged, tried again, and nothing is lost or stranded."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection

from taskq import App
from taskq.embedded import EmbeddedServer
from taskq.job import JobStatus
from tests.worker.conftest import (
    Disturbed,
    Drain,
    Finished,
    Start,
    cut_off,
    refused,
    statuses,
    until,
)

MOMENTS = pytest.mark.parametrize("moment", [refused, cut_off])


class Counted:
    """A task that counts its runs, with a lock."""

    def __init__(self, app: App) -> None:
        self.runs = 0

        @app.task(name="counted", lock="a lock", store_result=True)
        async def counted() -> int:
            self.runs += 1
            return self.runs

        self.task = counted


@pytest.fixture
def counted(app: App) -> Counted:
    return Counted(app)


def terminate_all(connection: psycopg.Connection) -> None:
    """The server ends every connection to the test's database but this one."""
    connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )


@pytest.mark.case(4)
@MOMENTS
async def test_the_end_of_a_job_whose_write_fails_once_is_written_again(
    app: App,
    start: Start,
    disturbed: Disturbed,
    finished: Finished,
    actions: Any,
    counted: Counted,
    moment: Callable[[Connection], object],
) -> None:
    """Case 4: the job still ends ``succeeded``, its lock is free, the worker lives."""
    disturbed.before("finish_jobs", moment)
    await start(app, fetch_job_polling_interval=60)
    first, second = await counted.task.batch_defer_async({}, {})
    assert (await finished(first)).result == 1
    assert (await finished(second)).result == 2
    assert actions().count(("WARNING", "database_failed")) == 1
    assert not [logged for logged in actions() if logged[0] == "ERROR"]


async def test_an_end_whose_answer_was_lost_is_not_taken_for_a_lost_job(
    app: App,
    start: Start,
    disturbed: Disturbed,
    finished: Finished,
    actions: Any,
    counted: Counted,
) -> None:
    disturbed.after("finish_jobs", cut_off)
    await start(app, fetch_job_polling_interval=60)
    first, second = await counted.task.batch_defer_async({}, {})
    assert (await finished(second)).status == (await finished(first)).status == "succeeded"
    assert counted.runs == 2
    assert "job_lost" not in {action for _, action in actions()}


@pytest.mark.case(5)
@MOMENTS
async def test_a_worker_survives_a_claim_that_fails(
    app: App,
    start: Start,
    disturbed: Disturbed,
    finished: Finished,
    counted: Counted,
    moment: Callable[[Connection], object],
) -> None:
    """Case 5."""
    disturbed.before("claim_jobs", moment)
    await start(app, fetch_job_polling_interval=60)
    assert (await finished(await counted.task.defer_async())).status == "succeeded"
    assert disturbed.calls["claim_jobs"] >= 2


@pytest.mark.case(5)
async def test_a_claimed_job_whose_claim_was_never_answered_is_found_again(
    app: App, start: Start, disturbed: Disturbed, finished: Finished, counted: Counted
) -> None:
    """Case 5, with the connection cut after the claim was committed, and a lock taken by it."""
    await start(app, fetch_job_polling_interval=60, abort_job_polling_interval=0.3)
    disturbed.after("claim_jobs", cut_off, only_if=bool)
    first, second = await counted.task.batch_defer_async({}, {})
    assert (await finished(first)).status == (await finished(second)).status == "succeeded"
    jobs = [await app.job_manager.get_job_async(job_id) for job_id in (first, second)]
    # Either may have been the one, and none was run without an answer.
    assert sorted(job.claim for job in jobs) == [1, 2]
    assert [job.attempt for job in jobs] == [1, 1]
    assert counted.runs == 2


async def test_a_write_that_a_trigger_refuses_once_is_repeated(
    app: App,
    start: Start,
    finished: Finished,
    connection: psycopg.Connection,
    counted: Counted,
) -> None:
    """A sequence remembers what a rolled-back statement cannot."""
    connection.execute(
        """
        CREATE SEQUENCE refusals;
        CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('refusals') = 1 THEN RAISE 'not now'; END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER refuse_once BEFORE UPDATE ON taskq_jobs FOR EACH ROW
        WHEN (new.status = 'succeeded') EXECUTE FUNCTION refuse_once();
        """
    )
    await start(app, fetch_job_polling_interval=60)
    assert (await finished(await counted.task.defer_async())).status == "succeeded"


@pytest.mark.parametrize("code", ["P0001", "23514", "22P02", "54000"])
async def test_an_end_that_the_database_refuses_for_good_holds_up_no_other(
    app: App, drain: Drain, connection: psycopg.Connection, code: str
) -> None:
    """54000 is what a result gets that is too long for the database."""

    @app.task
    async def end(number: int) -> None: ...

    jobs = await end.batch_defer_async(*({"number": number} for number in range(5)))
    connection.execute(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'never' USING ERRCODE = '{code}'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON taskq_jobs FOR EACH ROW
        WHEN (new.id = {jobs[2]} AND new.status = 'succeeded') EXECUTE FUNCTION refuse();
        """.encode()
    )
    await drain(app, concurrency=5)
    assert await statuses(app) == {JobStatus.SUCCEEDED: 4, JobStatus.FAILED: 1}
    [attempt] = await app.job_manager.list_failed_attempts_async(jobs[2])
    assert "could not be written" in attempt.error_message
    assert "never" in attempt.error_message


@contextmanager
def unreachable(connection: psycopg.Connection) -> Iterator[None]:
    info = connection.info
    alter = f"ALTER DATABASE {info.dbname} ALLOW_CONNECTIONS"
    with psycopg.connect(
        host=info.host, port=info.port, user=info.user, password=info.password, dbname="postgres"
    ) as other:
        other.autocommit = True
        other.execute(f"{alter} false".encode())
        terminate_all(connection)
        try:
            yield
        finally:
            other.execute(f"{alter} true".encode())
            terminate_all(connection)


@contextmanager
def read_only(connection: psycopg.Connection) -> Iterator[None]:
    """A fail-over seen from a client: the old primary is a standby now, and refuses what writes."""
    connection.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE 'a standby' USING ERRCODE = 'read_only_sql_transaction'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON taskq_jobs EXECUTE FUNCTION refuse();
        CREATE TRIGGER refuse BEFORE UPDATE ON taskq_workers EXECUTE FUNCTION refuse();
        """
    )
    terminate_all(connection)
    yield
    connection.execute("DROP FUNCTION refuse CASCADE")
    terminate_all(connection)


@pytest.mark.parametrize("away", [unreachable, read_only])
async def test_jobs_that_end_while_the_database_is_away_are_written_when_it_is_back(
    app: App,
    start: Start,
    connection: psycopg.Connection,
    actions: Any,
    away: Callable[[psycopg.Connection], AbstractContextManager[None]],
) -> None:
    begun, gate = asyncio.Semaphore(0), asyncio.Event()
    runs = 0

    @app.task(lock="a lock")
    async def locked() -> None:
        nonlocal runs
        runs += 1
        begun.release()
        await gate.wait()

    @app.task
    async def hold() -> None:
        nonlocal runs
        runs += 1
        begun.release()
        await gate.wait()

    jobs = [await locked.defer_async(), *[await hold.defer_async() for _ in range(4)]]
    jobs.append(await locked.defer_async())
    await start(app, concurrency=5, abort_job_polling_interval=0.3)
    for _ in range(5):
        await begun.acquire()
    with away(connection):
        gate.set()
        # For several tries.
        await asyncio.sleep(0.7)
        read = connection.execute("SELECT DISTINCT status::text FROM taskq_jobs").fetchall()
        assert set(read) == {("doing",), ("todo",)}

    def all_succeeded() -> bool:
        read = connection.execute("SELECT status::text FROM taskq_jobs").fetchall()
        return read == [("succeeded",)] * 6

    await until(all_succeeded, "the end of all jobs")
    assert runs == 6
    assert actions().count(("WARNING", "database_failed")) < 12
    assert not [logged for logged in actions() if logged[0] == "ERROR"]


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that no other test uses."""
    with tempfile.TemporaryDirectory(prefix="taskq-restart-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedServer(Path(folder) / "server") as server:
            yield server


async def test_a_job_outlives_a_restart_of_its_server(
    own_server: EmbeddedServer, actions: Any
) -> None:
    """It ends while the server is down, and it and its successor are as if nothing had been."""
    app = App(own_server.url)
    begun, gate = asyncio.Event(), asyncio.Event()
    runs = 0

    @app.task(lock="a lock")
    async def hold() -> None:
        nonlocal runs
        runs += 1
        begun.set()
        await gate.wait()

    await app.schema_manager.apply_schema_async()
    await hold.batch_defer_async({}, {})
    worker = app.worker(fetch_job_polling_interval=60, install_signal_handlers=False)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(30):
        await begun.wait()
        await asyncio.to_thread(own_server.stop)
        gate.set()
        await until(lambda: ("WARNING", "database_failed") in actions(), "a failure")
        await asyncio.to_thread(own_server.start)
        await until(lambda: actions().count(("INFO", "job_succeeded")) == 2, "both jobs")
        worker.stop()
        await running
    # What its pool has is of before the restart.
    await app.database.dispose_async()
    assert await statuses(app) == {JobStatus.SUCCEEDED: 2}
    assert runs == 2
    assert not [logged for logged in actions() if logged[0] == "ERROR"]
    await app.close_async()


async def test_connections_may_be_cut_at_any_moment(
    app: App, start: Start, connection: psycopg.Connection
) -> None:
    """Again and again, while jobs of all kinds come and go: each is run, and none is left."""
    ran: set[int] = set()

    @app.task(retry=1)
    async def busy(number: int, wait: float) -> None:
        await asyncio.sleep(wait)
        if number % 7 == 0 and number not in ran:
            ran.add(number)
            raise ValueError("once")
        ran.add(number)

    await start(
        app,
        concurrency=10,
        fetch_job_polling_interval=1,
        abort_job_polling_interval=0.2,
        update_heartbeat_interval=0.2,
        stalled_worker_timeout=10,
    )
    # By an app whose connections are not cut.
    for number in range(100):
        lock = f"lock {number % 5}" if number % 3 == 0 else None
        connection.execute(
            "SELECT taskq_defer_jobs(jsonb_build_array(jsonb_build_object("
            "'task_name', %s::text, 'lock', %s::text, 'args', jsonb_build_object("
            "'number', %s::int, 'wait', %s::float))))",
            [busy.name, lock, number, number % 4 / 100],
        )
        if number % 10 == 9:
            terminate_all(connection)
        await asyncio.sleep(0.01)

    def left() -> list[tuple[Any, ...]]:
        return connection.execute(
            "SELECT id, status::text FROM taskq_jobs WHERE status <> 'succeeded'"
        ).fetchall()

    deadline = time.monotonic() + 20
    while left():
        assert time.monotonic() < deadline, left()
        await asyncio.sleep(0.05)
    assert ran == set(range(100))
    assert connection.execute(
        "SELECT count(*) FROM taskq_jobs WHERE status = 'doing'"
    ).fetchone() == (0,)
