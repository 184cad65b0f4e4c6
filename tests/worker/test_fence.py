"""A worker that goes on while its database becomes another one, or an earlier state of the same."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url, text
from sqlalchemy.util import await_only

from taskq import App, JobContext, JobStatus
from tests.worker.conftest import Disturbed, Finished, Start, idle, services_of, statuses, until

SHORT = {"update_heartbeat_interval": 0.2, "stalled_worker_timeout": 5.0}


class OtherDatabase:
    """A database beside the test's own, which can be lost and restored while it is used."""

    def __init__(self, admin: psycopg.Connection, url: str) -> None:
        self._admin = admin
        self._name = f"{admin.info.dbname}_lost"
        self._copy = f"{admin.info.dbname}_copy"
        self.url = make_url(url).set(database=self._name).render_as_string(hide_password=False)

    def create(self, template: str = "template0") -> None:
        self._run("CREATE DATABASE {} TEMPLATE {}", self._name, template)

    def drop(self) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._name)

    def copy(self) -> None:
        """Keep its present state, which cuts off every session."""
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS false", self._name)
        try:
            self._copy_once()
        except psycopg.errors.ObjectInUse:
            # By a session that was let in before, and has come since.
            self._copy_once()
        self._run("ALTER DATABASE {} ALLOW_CONNECTIONS true", self._name)

    def _copy_once(self) -> None:
        self._admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            [self._name],
        )
        self._run("CREATE DATABASE {} TEMPLATE {}", self._copy, self._name)

    def restore(self) -> None:
        """Go back to the state that was kept."""
        self.drop()
        self.create(self._copy)

    def clear(self) -> None:
        self.drop()
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", self._copy)

    def _run(self, statement: Any, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@pytest.fixture
def database(connection: psycopg.Connection, database_url: str) -> Iterator[OtherDatabase]:
    other = OtherDatabase(connection, database_url)
    other.create()
    yield other
    other.clear()


@pytest.fixture
def app_of(database: OtherDatabase) -> Callable[[], App]:
    """Makes apps on that database; the test closes them."""
    return lambda: App(database.url)


async def test_a_database_that_is_made_anew_under_a_worker_gets_each_job_run_once(
    database: OtherDatabase, app_of: Callable[[], App], start: Start, actions: Any
) -> None:
    starts: Counter[int] = Counter()
    inside = 0
    most_inside = 0
    gate = asyncio.Event()

    def with_tasks() -> App:
        app = app_of()

        @app.task(name="wait")
        async def wait() -> None:
            await gate.wait()

        @app.task(name="nap", pass_context=True)
        async def nap(context: JobContext) -> None:
            nonlocal inside, most_inside
            starts[context.job.id] += 1
            inside += context.job.lock is not None
            most_inside = max(most_inside, inside)
            await asyncio.sleep(0.3)
            inside -= context.job.lock is not None

        return app

    first, second = with_tasks(), with_tasks()
    first.schema_manager.apply_schema()
    old = await start(first, concurrency=3, **SHORT)
    await first.tasks["wait"].defer_async()
    await until(lambda: not services_of(old).executor_pool.is_empty, "a job that runs")
    old_id = old.id

    database.drop()
    database.create()
    second.schema_manager.apply_schema()
    new = await start(second, concurrency=3, **SHORT)
    nap = second.tasks["nap"]
    for number in range(7):
        await nap.configure(lock="shared" if number < 3 else None).defer_async()
    deadline = time.monotonic() + 20
    while await statuses(second) != {JobStatus.SUCCEEDED: 7}:
        assert time.monotonic() < deadline, (await statuses(second), starts)
        await asyncio.sleep(0.02)
    assert starts == dict.fromkeys(range(1, 8), 1)
    assert most_inside == 1
    await until(lambda: old.id != old_id, "a new registration")
    assert old.id != new.id
    assert ("WARNING", "worker_registered_again") in actions()
    assert {job.worker_id for job in await second.job_manager.list_jobs_async()} <= {old.id, new.id}
    for app in (first, second):
        await app.close_async()


async def test_an_attempt_from_before_a_restore_cannot_end_a_new_job_of_the_same_id(
    database: OtherDatabase, app_of: Callable[[], App], start: Start, actions: Any
) -> None:
    """Not even in the same worker, whose next heartbeat is far away."""
    app = app_of()
    gates = {"old": asyncio.Event(), "new": asyncio.Event()}
    begun: list[str] = []

    @app.task(store_result=True)
    async def wait(name: str) -> str:
        begun.append(name)
        while not gates[name].is_set():
            with suppress(asyncio.CancelledError):
                await gates[name].wait()
        return name

    app.schema_manager.apply_schema()
    worker = await start(
        app, concurrency=2, update_heartbeat_interval=60, stalled_worker_timeout=90
    )
    database.copy()
    await app.database.dispose_async()
    old_id = await wait.defer_async(name="old")
    await until(lambda: begun == ["old"], "the old attempt")
    former = worker.id

    database.restore()
    await app.database.dispose_async()
    new_id = await wait.defer_async(name="new")
    assert new_id == old_id
    await until(lambda: begun == ["old", "new"], "the new attempt")
    assert worker.id != former
    gates["old"].set()
    await until(lambda: ("WARNING", "job_lost") in actions(), "a write that is refused")
    job = await app.job_manager.get_job_async(new_id)
    assert (job.status, job.worker_id, job.claim) == (JobStatus.DOING, worker.id, 1)

    gates["new"].set()
    deadline = time.monotonic() + 10
    while (job := await app.job_manager.get_job_async(new_id)).status is JobStatus.DOING:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert (job.status, job.result) == (JobStatus.SUCCEEDED, "new")
    await app.close_async()


async def test_a_worker_whose_row_is_gone_lets_its_job_go_and_runs_it_again(
    app: App, start: Start, connection: psycopg.Connection, actions: Any, finished: Finished
) -> None:
    """In this order, so that a lock is not held twice; and it was not the job's fault."""
    gate = asyncio.Event()
    events: list[str] = []

    @app.task(lock="one")
    async def wait() -> None:
        events.append("begun")
        try:
            await gate.wait()
        finally:
            events.append("ended")

    worker = await start(app, update_heartbeat_interval=0.2)
    former = worker.id
    job_id = await wait.defer_async()
    await until(lambda: events, "the job")
    connection.execute("DELETE FROM taskq_workers")
    await until(lambda: len(events) == 3, "the job again")
    assert events == ["begun", "ended", "begun"]
    assert actions().count(("WARNING", "worker_registered_again")) == 1
    assert connection.execute("SELECT id FROM taskq_workers").fetchall() == [(worker.id,)]
    assert worker.id != former
    gate.set()
    job = await finished(job_id)
    assert (job.status, job.worker_id) == (JobStatus.SUCCEEDED, worker.id)
    assert (job.attempt, job.crashes) == (1, 0)


async def test_what_a_claim_brings_after_its_worker_has_registered_again_goes_back(
    app: App, start: Start, disturbed: Disturbed, finished: Finished, actions: Any
) -> None:
    runs = 0

    @app.task
    async def count() -> None:
        nonlocal runs
        runs += 1

    worker = await start(app, update_heartbeat_interval=0.1)
    former = worker.id
    await idle(worker)

    def taken_for_dead(connection: Connection) -> None:
        connection.execute(text("DELETE FROM taskq_workers"))
        await_only(until(lambda: worker.id != former, "a new registration"))

    disturbed.after("claim_jobs", taken_for_dead, only_if=bool)
    job = await finished(await count.defer_async())
    assert (job.status, job.worker_id, job.attempt) == (JobStatus.SUCCEEDED, worker.id, 1)
    assert (job.claim, runs) == (2, 1)
    assert ("WARNING", "job_lost") not in actions()


async def test_what_had_ended_before_its_worker_registered_again_is_written_all_the_same(
    app: App,
    start: Start,
    connection: psycopg.Connection,
    disturbed: Disturbed,
    finished: Finished,
) -> None:
    """By its former id, as no other worker took the job."""

    @app.task
    async def note() -> None: ...

    worker = await start(app, update_heartbeat_interval=0.1)
    former = worker.id
    await idle(worker)

    def taken_for_dead(_: Connection) -> None:
        connection.execute("DELETE FROM taskq_workers")
        await_only(until(lambda: worker.id != former, "a new registration"))

    disturbed.before("finish_jobs", taken_for_dead)
    job = await finished(await note.defer_async())
    assert (job.status, job.worker_id, job.claim) == (JobStatus.SUCCEEDED, former, 1)
