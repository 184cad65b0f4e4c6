"""One server for the whole test run, and a database of its own for each test.

The server is an embedded one whose data are thrown away at the end, or the one that
``TASKQ_TEST_DATABASE_URL`` names, as a user who may create databases.
"""

import os
import shutil
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor

from taskq.database.database import Database
from taskq.deferrer import Deferrer
from taskq.embedded import EmbeddedServer
from taskq.pytest.server import in_memory
from taskq.schema import SchemaManager
from taskq.task import Task
from tests import pooler
from tests.chaos import table as chaos_table
from tests.databases import Databases

# A pytest in a test, for what plugins are; pytest takes this line at the top alone.
pytest_plugins = ["pytester"]


def apply_schema(url: str) -> None:
    """Apply the schema as a user does, so that the database knows that it has it."""
    database = Database.resolve(url)
    try:
        SchemaManager(database).apply_schema()
    finally:
        database.close()


postgresql_noproc = factories.postgresql_noproc()

Spoil = Callable[..., None]

options = pytest.StashKey[dict[str, Any]]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the server and tell pytest-postgresql where it is."""
    # A shell has what runs in its background ignore Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # sqlc, squawk and their like, also where the environment is not activated.
    os.environ["PATH"] = os.pathsep.join(
        filter(None, [sysconfig.get_path("scripts"), os.environ.get("PATH")])
    )
    if hasattr(config, "workerinput"):
        config.stash[options] = config.workerinput["postgresql"]
    else:
        url = os.environ.get("TASKQ_TEST_DATABASE_URL") or start_server(config)
        named = conninfo_to_dict(url.replace("+psycopg", "", 1))
        config.stash[options] = {
            **{name: named.get(name) for name in ("host", "port", "user", "password")},
            "maintenance_dbname": named.get("dbname"),
            # Another run may use the same server.
            "dbname": f"taskq_{os.getpid()}_",
        }
    for name, value in config.stash[options].items():
        setattr(config.option, f"postgresql_{name}", value)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one of xdist's workers where the server is."""
    node.workerinput["postgresql"] = node.config.stash[options]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what the faults of the chaos tests have led to."""
    rows = [
        value
        for report in (
            *terminalreporter.getreports("passed"),
            *terminalreporter.getreports("failed"),
        )
        for name, value in report.user_properties
        if name == chaos_table.PROPERTY
    ]
    if rows:
        terminalreporter.section("chaos")
        for line in chaos_table.table(rows):
            terminalreporter.line(line)


def start_server(config: pytest.Config) -> str:
    """Start an embedded server until pytest ends; returns its URL."""
    folder = Path(tempfile.mkdtemp(prefix="taskq-tests-", dir=in_memory()))
    config.add_cleanup(lambda: shutil.rmtree(folder))
    # So that root need not open it to the server's own user.
    folder.chmod(0o711)
    server = EmbeddedServer(folder)
    config.add_cleanup(server.stop)
    with psycopg.connect(server.start().replace("+psycopg", ""), autocommit=True) as connection:
        # These data are of no use after a crash, and a big machine has many workers.
        for setting in (
            "autovacuum_naptime = '1min'",
            "fsync = off",
            "full_page_writes = off",
            "max_connections = 500",
            "max_prepared_transactions = 10",
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
    server.stop()
    return server.start()


@pytest.fixture(scope="session")
def server_url(postgresql_noproc: NoopExecutor) -> str:
    """The URL of the server, for SQLAlchemy, as a user who may create databases."""
    server = postgresql_noproc
    return url_of(
        str(server.host),
        server.port,
        server.user,
        server.maintenance_dbname,
        server.password or None,
    )


@pytest.fixture(scope="session")
def databases(server_url: str) -> Iterator[Databases]:
    """Each of xdist's workers makes a template with the schema, and each test gets a clone of it."""
    with closing(Databases(server_url, apply_schema)) as databases:
        yield databases


@pytest.fixture
def postgresql(databases: Databases) -> Iterator[psycopg.Connection]:
    with databases.lend() as connection:
        yield connection


class Face:
    """The sync or the async methods, to be awaited either way."""

    def __init__(self, is_async: bool) -> None:
        self.is_async = is_async

    async def defer(
        self, /, by: Task[..., Any] | Deferrer[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if self.is_async:
            return await by.defer_async(*args, **kwargs)
        return by.defer(*args, **kwargs)

    async def batch(self, by: Task[..., Any] | Deferrer[..., Any], *calls: Any) -> list[Any]:
        return await by.batch_defer_async(*calls) if self.is_async else by.batch_defer(*calls)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def face(request: pytest.FixtureRequest) -> Face:
    return Face(request.param)


@pytest.fixture
def connection(postgresql: psycopg.Connection) -> psycopg.Connection:
    """An autocommit connection to the test's own database, which has the schema."""
    postgresql.autocommit = True
    return postgresql


@pytest.fixture
def unchecked(connection: psycopg.Connection) -> None:
    """The tables without their constraints, as from an older dump, or changed by hand."""
    for (statement,) in connection.execute(
        "SELECT format('ALTER TABLE %I DROP CONSTRAINT %I', relname, conname) "
        "FROM pg_constraint INNER JOIN pg_class ON conrelid = pg_class.oid "
        "WHERE contype = 'c' AND relname LIKE 'taskq_%'"
    ).fetchall():
        connection.execute(statement)
    connection.execute("ALTER TABLE taskq_jobs ALTER COLUMN id SET GENERATED BY DEFAULT")


@pytest.fixture
def spoil(connection: psycopg.Connection, unchecked: None) -> Spoil:
    """Writes values into the row of a job."""

    def write(job_id: int, **values: Any) -> None:
        columns = ", ".join(f"{column} = %s" for column in values)
        connection.execute(
            f"UPDATE taskq_jobs SET {columns} WHERE id = %s".encode(), [*values.values(), job_id]
        )

    return write


class _Lenient(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class LateDatetime(datetime, metaclass=_Lenient):
    """What ``datetime`` is on a machine whose clock is 400 days late."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        """The time, as this machine has it."""
        return datetime.now(tz) - timedelta(days=400)


@pytest.fixture
def late_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the client, and not the server's, is 400 days late."""
    for name, module in list(sys.modules.items()):
        if name.startswith("taskq.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", LateDatetime)


@pytest.fixture
def session_waits(connection: psycopg.Connection) -> Callable[[], bool]:
    """Whether a session waits for a lock, in the test's own database: other tests share the server."""
    waiting = (
        "SELECT FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return lambda: connection.execute(waiting).fetchone() is not None


@pytest.fixture
def database_url(postgresql: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the test's own database, which has the schema, for SQLAlchemy."""
    info = postgresql.info
    url = url_of(info.host, info.port, info.user, info.dbname, info.password)
    if not (port := os.environ.get(pooler.PORT_VARIABLE)):
        return url
    if os.environ.get(pooler.LISTEN_VARIABLE):
        monkeypatch.setenv("TASKQ_WORKER_LISTEN_DATABASE", url)
    else:
        pooler.have_workers_poll(monkeypatch)
    pooler.have_databases_know(monkeypatch, port)
    return url_of("127.0.0.1", port, info.user, info.dbname, info.password)


@pytest.fixture
def bare_url(connection: psycopg.Connection, database_url: str) -> str:
    """A database without the schema: another namespace of the test's own."""
    connection.execute("CREATE SCHEMA bare")
    return f"{database_url}&options=-csearch_path%3Dbare"


def url_of(host: str, port: int | str, user: str, dbname: str, password: str | None) -> str:
    """The URL of a database, for SQLAlchemy."""
    # By hand, as SQLAlchemy writes spaces in a way that libpq, without "+psycopg", cannot read.
    names = (user, password or "", dbname, host)
    user, password, dbname, host = (quote(name, safe="") for name in names)
    return f"postgresql+psycopg://{user}:{password}@/{dbname}?host={host}&port={port}"
