"""Least privilege: each kind of role can do its job and nothing else, by connections of its own."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Connection, make_url

from taskq import App, JobContext, JobManager, JobStatus, RetryStrategy, SchemaManager
from taskq.exceptions import (
    AlreadyEnqueued,
    InvalidOption,
    JobNotFound,
    NotPermitted,
    SchemaNotApplied,
)
from taskq.schema import RoleKind
from tests.schema.conftest import InNamespace, Program, Schema, Url
from tests.sql.sqlc import Query, read_queries
from tests.worker.conftest import until

PASSWORD = "not secret"  # noqa: S105
QUERIES = read_queries()

# What the schema manager asks, as the owner of the schema.
OWNERS = {name for name in QUERIES if re.match(r"Prepare|Write|TryLock", name)}

# What a query does that is a worker's to do: to write, to notify and to listen.
# What they do is not seen when a query is planned.
FUNCTIONS = re.compile(
    "taskq_(defer_jobs|publish|claim_jobs|open_locks|open_limits|next_ready_queue)"
)

DOES = re.compile(
    r"\b(INSERT INTO|UPDATE taskq_|FOR UPDATE|DELETE FROM|pg_notify|taskq_notify|taskq_listen)"
)

MakeRole = Callable[[RoleKind], str]
AppAs = Callable[[RoleKind], App]


@pytest.fixture
def owner(app_in: InNamespace, connection: psycopg.Connection) -> App:
    """The app of the owner of the schema, in a namespace of the test's own."""
    app = app_in("shop")
    # As careful people have it: who may call what is not everybody.
    connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    app.schema_manager.apply_schema()
    return app


@pytest.fixture
def make_role(owner: App, connection: psycopg.Connection, run_psql: Program) -> Iterator[MakeRole]:
    """Makes a role with what ``schema grants`` prints for it; returns its name."""
    made: list[str] = []

    def make(kind: RoleKind) -> str:
        # One that has to be quoted, and that no other test has: roles are a whole server's.
        role = f'{kind} "{uuid4().hex}"; --'
        statement = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}")
        connection.execute(statement.format(sql.Identifier(role), sql.Literal(PASSWORD)))
        made.append(role)
        assert "ERROR" not in run_psql(owner.schema_manager.grants(role, kind))
        return role

    yield make
    for role in made:
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
async def app_as(make_role: MakeRole, url_in: Url) -> AsyncIterator[AppAs]:
    """Makes apps that connect as a role of a kind."""
    apps: list[App] = []

    def make(kind: RoleKind) -> App:
        url = make_url(url_in("shop")).set(username=make_role(kind), password=PASSWORD)
        apps.append(App(url))
        return apps[-1]

    yield make
    for app in apps:
        await app.close_async()


def in_transaction(app: App) -> Connection:
    """A connection whose transaction is rolled back at the end."""
    return app.database.engine.connect().execution_options(isolation_level="READ COMMITTED")


def refused(app: App, statement: str) -> bool:
    """Whether a role may not run a statement; it is rolled back, if it may."""
    with in_transaction(app) as connected:
        assert connected.exec_driver_sql("SELECT current_schema()").scalar() == "shop"
        try:
            connected.exec_driver_sql(statement)
        except Exception as error:
            cause = error.__cause__
            assert isinstance(cause, psycopg.errors.InsufficientPrivilege), cause
            return True
        return False


# Each can do its job


async def test_a_deferrer_defers_and_asks_where_its_jobs_stand(app_as: AppAs, owner: App) -> None:
    app = app_as("deferrer")
    app.schema_manager.check()

    @app.task(name="noop", queueing_lock="once")
    async def noop(number: int) -> None: ...

    first = noop.defer(number=1)
    with pytest.raises(AlreadyEnqueued, match=f"job {first} with"):
        await noop.defer_async(number=2)
    assert await noop.configure(on_conflict="skip").defer_async(number=3) is None
    later = await noop.configure(
        queueing_lock="later",
        schedule_in={"hours": 1},
        lock="a",
        priority=2,
        queue="mail",
        metadata={"by": "web"},
        tags=["a"],
    ).defer_async(number=4)
    others = noop.configure(queueing_lock=None).batch_defer({"number": 5}, {"number": 6})
    with in_transaction(app) as connected:
        noop.configure(queueing_lock=None, connection=connected).defer(number=7)
    keyed = noop.configure(idempotency_key="k", queueing_lock="free")
    once = keyed.defer(number=8)
    assert await keyed.defer_async(number=9) == once
    deferred = [first, later, *others, once]
    assert app.job_manager.list_alive_jobs(deferred) == deferred
    assert await app.job_manager.get_job_status_async(first) is JobStatus.TODO
    jobs = await owner.job_manager.list_jobs_async(ids=deferred)
    assert [job.task_kwargs["number"] for job in jobs] == [1, 4, 5, 6, 8]
    with pytest.raises(
        NotPermitted, match=r"permission denied .* what python -m taskq schema grants"
    ):
        app.job_manager.get_job(first)
    with pytest.raises(NotPermitted):
        await app.job_manager.cancel_job_by_id_async(first)
    # Also where none waits: it would work until the first one does.
    with pytest.raises(NotPermitted):
        noop.configure(on_conflict="replace", queueing_lock="none waits").defer(number=9)


async def test_a_worker_does_all_that_workers_do(
    app_as: AppAs, owner: App, connection: psycopg.Connection
) -> None:
    app = app_as("worker")
    ran: list[str] = []

    @app.task(name="note", store_result=True)
    async def note(text: str) -> str:
        ran.append(text)
        return text

    @app.task(name="fail", retry=RetryStrategy(max_attempts=1))
    async def fail() -> None:
        raise ValueError("no")

    @app.task(name="more")
    async def more() -> None:
        await note.defer_async(text="deferred by a task")

    @app.task(name="hold", pass_context=True)
    async def hold(context: JobContext) -> None:
        await asyncio.sleep(60)

    @app.on("published")
    @app.task(name="hear")
    async def hear(text: str) -> None:
        ran.append(text)

    @app.periodic(cron="* * * * * *")
    @app.task(name="tick")
    async def tick(timestamp: int) -> None:
        ran.append("ticked")

    old = owner.configure_task("note").defer(text="long ago")
    age = "status = 'succeeded', deferred_at = now() - interval '2 d', finished_at = now() - interval '2 d'"
    connection.execute(f"UPDATE shop.taskq_jobs SET {age}".encode())

    # Left behind by a worker that died, with a lock that it held.
    lost = owner.configure_task("note", lock="lost").defer(text="rescued")
    for statement in (
        "INSERT INTO shop.taskq_workers (id, name, last_heartbeat) "
        "VALUES (1, 'dead', now() - interval '1 h')",
        "UPDATE shop.taskq_jobs SET status = 'doing', worker_id = 1, claim = 1, started_at = now() "
        "WHERE status = 'todo'",
    ):
        connection.execute(statement.encode())

    locked = [note.configure(lock="one").defer(text=text) for text in ("first", "second")]
    failing, held = fail.defer(), hold.defer()
    more.defer()
    note.configure(schedule_in=timedelta(seconds=1)).defer(text="later")

    worker = app.worker(
        concurrency=5, retention={"succeeded": timedelta(days=1)}, install_signal_handlers=False
    )
    running = asyncio.create_task(worker.run())
    expected = {"rescued", "first", "second", "deferred by a task", "later", "ticked"}
    await until(lambda: expected <= set(ran) or running.done(), "all that was to run")
    await asyncio.gather(
        *(each.publish_async("published", text="heard") for each in (app_as("deferrer"), app))
    )
    await until(lambda: ran.count("heard") == 2, "jobs of events that both publish")
    status = owner.job_manager.get_job_status
    await until(lambda: status(failing) is JobStatus.FAILED, "a failed job")
    await until(lambda: status(held) is JobStatus.DOING, "a job that is held")
    assert await app.job_manager.cancel_job_by_id_async(held, abort=True)
    await until(lambda: status(held) is JobStatus.ABORTED, "an aborted job")
    await until(lambda: not owner.job_manager.list_jobs(ids=[old]).jobs, "the end of an old job")
    worker.stop()
    await running

    jobs = {job.id: job for job in owner.job_manager.list_jobs(ids=[lost, *locked, failing])}
    assert jobs[lost].status is JobStatus.SUCCEEDED
    assert jobs[lost].crashes == 1
    assert ran.index("first") < ran.index("second")
    assert jobs[locked[0]].result == "first"
    assert len(app.job_manager.list_failed_attempts(failing)) == 2
    replacing = note.configure(queueing_lock="once", lock="a", on_conflict="replace")
    anew = replacing.configure(lock="b", idempotency_key="k")
    assert replacing.defer(text="replaced") == anew.defer(text="anew")
    gone = note.defer(text="once more")
    await app.run_worker_async(wait=False, delete_jobs="always", install_signal_handlers=False)
    with pytest.raises(JobNotFound):
        app.job_manager.get_job(gone)


async def test_an_observer_reads_everything(app_as: AppAs, owner: App) -> None:
    job_id = owner.configure_task("noop", queue="mail").defer(number=1)
    app = app_as("observer")
    manager: JobManager = app.job_manager
    assert manager.get_job(job_id).task_kwargs == {"number": 1}
    assert (await manager.get_job_async(job_id)).queue == "mail"
    assert manager.count_jobs() == {("mail", "noop", JobStatus.TODO): 1}
    assert manager.list_failed_attempts(job_id) == []
    app.schema_manager.check()
    assert app.schema_manager.count_users() == (1, 0)
    assert {status.state.value for status in app.schema_manager.status()} == {"applied"}
    assert app.schema_manager.apply_schema() == [], "which needs no right if there is nothing to do"
    with pytest.raises(NotPermitted):
        app.configure_task("noop").defer()
    with pytest.raises(NotPermitted):
        manager.cancel_job_by_id(job_id)


@pytest.mark.parametrize("kind", ["worker", "observer"])
def test_each_query_is_run_by_those_who_should(
    owner: App, make_role: MakeRole, connection: psycopg.Connection, kind: RoleKind
) -> None:
    connection.execute("SET search_path TO shop")
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(make_role(kind))))

    def may_run(query: Query) -> bool:
        # The server looks at rights when it plans, and before it runs anything.
        connection.execute(f"PREPARE asked AS {query.text}".encode())
        values = ", ".join(["NULL"] * len(query.parameters))
        run = f"EXPLAIN EXECUTE asked{f'({values})' if values else ''}"
        try:
            connection.execute(run.encode())
        except psycopg.errors.InsufficientPrivilege:
            return False
        finally:
            connection.execute("DEALLOCATE asked")
        return True

    asked = {name: query for name, query in QUERIES.items() if name not in OWNERS}
    wrong = [
        name
        for name, query in asked.items()
        # What a function does it does not see: the calls above show that.
        if not FUNCTIONS.search(query.text)
        and may_run(query) != (kind == "worker" or not DOES.search(query.text))
    ]
    connection.execute("RESET ROLE")
    assert len(asked) > 15
    assert wrong == []


def test_a_role_that_may_only_read_waits_by_polling(app_as: AppAs, owner: App) -> None:
    job_id = owner.configure_task("noop").defer()
    observer = app_as("observer")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(observer.job_manager.wait_for_job, job_id, timeout=15)
        while not observer.database.waiters.awaited_ids():
            assert not waiting.done()
        owner.job_manager.cancel_job_by_id(job_id)
        assert waiting.result().status is JobStatus.CANCELLED
    with pytest.raises(NotPermitted):
        app_as("deferrer").job_manager.wait_for_job(job_id)


# And nothing else

OWNER_ALONE = [
    "CREATE TABLE mine ()",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    "DROP TABLE taskq_jobs",
    "DROP FUNCTION taskq_defer_jobs",
    "ALTER TABLE taskq_jobs ADD COLUMN mine text",
    "ALTER TABLE taskq_jobs DISABLE TRIGGER ALL",
    "CREATE INDEX mine ON taskq_jobs (id)",
    "CREATE TRIGGER mine BEFORE INSERT ON taskq_jobs EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE OR REPLACE FUNCTION taskq_channel() RETURNS text LANGUAGE sql RETURN 'mine'",
    "TRUNCATE taskq_failed_attempts",
    "UPDATE taskq_migrations SET checksum = ''",
    "DELETE FROM taskq_migrations",
    "INSERT INTO taskq_migrations (version, name, checksum) VALUES (99, '', '')",
    "SELECT setval(pg_get_serial_sequence('taskq_jobs', 'id'), 1)",
    "DROP SCHEMA shop CASCADE",
]
WRITERS_ALONE = [
    "UPDATE taskq_jobs SET priority = 1",
    "DELETE FROM taskq_jobs",
    "SELECT id FROM taskq_jobs FOR UPDATE",
    "DELETE FROM taskq_open_gates",
    "INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'x')",
    "DELETE FROM taskq_pauses",
    "INSERT INTO taskq_workers (name) VALUES ('x')",
    "UPDATE taskq_workers SET last_heartbeat = now()",
    "DELETE FROM taskq_workers",
    "INSERT INTO taskq_periodic VALUES ('x', '', 1)",
    "INSERT INTO taskq_retention VALUES (true, 1, now())",
    "INSERT INTO taskq_subscriptions (event, task_name, queue_name) VALUES ('x', 'x', 'x')",
    "DELETE FROM taskq_subscriptions",
    "INSERT INTO taskq_failed_attempts VALUES (1, 1, 1, 1, now(), '', '', '')",
    "INSERT INTO taskq_jobs (task_name, queue_name, args, status) VALUES ('x', 'x', '{}', 'failed')",
    "INSERT INTO taskq_jobs (task_name, queue_name, args, result) VALUES ('x', 'x', '{}', '1')",
]
DEFERRERS_TOO = [
    "INSERT INTO taskq_jobs (task_name, queue_name, args) VALUES ('x', 'x', '{}')",
    """SELECT taskq_defer_jobs('[{"task_name": "x"}]')""",
    "INSERT INTO taskq_open_gates VALUES ('x', 0, 1, 'x')",
]
READERS_ALONE = [
    "SELECT args FROM taskq_jobs",
    "SELECT result FROM taskq_jobs",
    "SELECT * FROM taskq_jobs",
    "SELECT error_message FROM taskq_failed_attempts",
    "SELECT * FROM taskq_workers",
    "SELECT * FROM taskq_open_gates",
    "SELECT * FROM taskq_pauses",
    "SELECT * FROM taskq_periodic",
    "SELECT * FROM taskq_retention",
    "COPY taskq_jobs TO STDOUT",
]
FORBIDDEN: dict[RoleKind, list[str]] = {
    "deferrer": [*OWNER_ALONE, *WRITERS_ALONE, *READERS_ALONE],
    "worker": OWNER_ALONE,
    "observer": [*OWNER_ALONE, *WRITERS_ALONE, *DEFERRERS_TOO],
}


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_everything_else_is_refused(app_as: AppAs, owner: App, kind: RoleKind) -> None:
    owner.configure_task("noop").defer()
    app = app_as(kind)
    assert [statement for statement in FORBIDDEN[kind] if not refused(app, statement)] == []
    if kind == "worker":
        # So that it is the role, and not the statement, at which the others fail.
        allowed = [*WRITERS_ALONE, *DEFERRERS_TOO, *READERS_ALONE[:-1]]
        assert [statement for statement in allowed if refused(app, statement)] == []
    elif kind == "observer":
        assert [statement for statement in READERS_ALONE[:-1] if refused(app, statement)] == []


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_none_of_them_removes_the_schema_nor_migrates_it(
    app_as: AppAs, kind: RoleKind, owner: App
) -> None:
    app = app_as(kind)
    with pytest.raises(NotPermitted, match="must be owner of"):
        app.schema_manager.remove()
    owner.schema_manager.check()
    owner.schema_manager.remove()
    with pytest.raises(NotPermitted, match="permission denied for schema shop"):
        app.schema_manager.apply_schema()


def test_a_role_that_was_granted_nothing_is_told_what_to_do(
    app_as: AppAs, owner: App, connection: psycopg.Connection
) -> None:
    app = app_as("observer")
    connection.execute("REVOKE ALL ON shop.taskq_migrations FROM PUBLIC")
    user = make_url(app.database.engine.url).username or ""
    connection.execute(
        sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA shop FROM {}").format(sql.Identifier(user))
    )
    with pytest.raises(NotPermitted, match=r"permission denied for table taskq_migrations.*grants"):
        app.schema_manager.check()


# What is no role


@pytest.mark.parametrize("role", ["", "a\0b", "x" * 64, "ü" * 32])
def test_what_no_role_can_be_called_is_refused(owner: App, role: str) -> None:
    with pytest.raises(InvalidOption, match="is no name of a role"):
        owner.schema_manager.grants(role, "worker")


def test_a_kind_that_does_not_exist_is_refused(owner: App) -> None:
    with pytest.raises(InvalidOption, match="'admin' is none of deferrer, worker, observer"):
        owner.schema_manager.grants("me", "admin")  # type: ignore[arg-type]


def test_without_a_schema_there_is_nothing_to_grant_anything_on(schema_in: Schema) -> None:
    schema: SchemaManager = schema_in("nothing")
    with pytest.raises(SchemaNotApplied, match="'nothing' has no schema of taskq to grant"):
        schema.grants("me", "worker")
