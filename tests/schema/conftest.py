"""Namespaces, each for taskq an empty database, and migrations that are still to come."""

import re
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from taskq import App
from taskq.embedded.wheel import open_wheel
from taskq.schema import SchemaManager, read_migrations

# What the next version of taskq might bring, after the migrations that there are.
COMING = {
    "pre_add_note": "ALTER TABLE taskq_jobs ADD COLUMN note text;",
    "pre_find_note": (
        "DROP INDEX CONCURRENTLY IF EXISTS taskq_jobs_note;\n"
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS taskq_jobs_note ON taskq_jobs (note)\n"
        "WHERE status = 'todo';  -- of those that wait\n"
    ),
    "pre_count_notes": (
        "CREATE FUNCTION taskq_notes() RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC\n"
        "    SELECT count(note) FROM taskq_jobs;\nEND;"
    ),
    "post_drop_note": "DROP FUNCTION taskq_notes;\nALTER TABLE taskq_jobs DROP COLUMN note;",
}

Url = Callable[[str], str]
InNamespace = Callable[[str], App]
Schema = Callable[..., SchemaManager]
Program = Callable[..., str]


@pytest.fixture
def url_in(connection: psycopg.Connection, database_url: str) -> Url:
    """Makes a namespace, empty unless it is there, and the URL that chooses it."""

    def url(namespace: str) -> str:
        if "," not in namespace:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {namespace}".encode())
        return f"{database_url}&options=-csearch_path%3D{namespace}"

    return url


@pytest.fixture
async def app_in(url_in: Url) -> AsyncIterator[InNamespace]:
    """Makes apps in a namespace each."""
    apps: list[App] = []

    def make(namespace: str) -> App:
        apps.append(App(url_in(namespace)))
        return apps[-1]

    yield make
    for app in apps:
        await app.close_async()


@pytest.fixture
def schema_in(app_in: InNamespace) -> Schema:
    """Makes schema managers in a namespace each, on the migrations of a folder."""

    def make(namespace: str, folder: Path | None = None) -> SchemaManager:
        return SchemaManager(app_in(namespace).database, folder=folder)

    return make


class Folder:
    """A folder with the migrations that there are, and more after them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.real = read_migrations()
        for migration in self.real:
            (self.path / migration.name).write_bytes(migration.sql)

    def add(self, name: str, sql: str) -> str:
        """Write one more; returns its name, with its number."""
        number = len(list(self.path.glob("*.sql"))) + 1
        written = self.path / f"{number:04}_{name}.sql"
        written.write_text(sql)
        return written.name

    def add_coming(self) -> list[str]:
        """Write those that might come; returns their names."""
        return [self.add(name, sql) for name, sql in COMING.items()]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with the migrations that there are."""
    return Folder(tmp_path / "migrations")


@pytest.fixture
def run_psql(connection: psycopg.Connection) -> Program:
    """Runs a script with psql, which must succeed unless told otherwise; returns what it said."""

    def run(script: str, *, succeeds: bool = True) -> str:
        done = subprocess.run(
            [open_wheel().programs / "psql", "-X", "-q", "-d", _conninfo(connection)],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stderr
        return done.stderr + done.stdout

    return run


@pytest.fixture
def dump(connection: psycopg.Connection) -> Program:
    """All that is in the catalog about a namespace, but for the namespace's name."""

    def run(namespace: str) -> str:
        done = subprocess.run(
            [
                open_wheel().programs / "pg_dump",
                *("--schema-only", f"--schema={namespace}", "-d", _conninfo(connection)),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [
            line
            for line in done.stdout.splitlines()
            # Another key each time.
            if not line.startswith(("\\restrict", "\\unrestrict"))
        ]
        assert any("taskq_jobs" in line for line in lines)
        return re.sub(rf"\b{namespace}\b", "namespace", "\n".join(lines))

    return run


def _conninfo(connection: psycopg.Connection) -> str:
    info = connection.info
    return psycopg.conninfo.make_conninfo(info.dsn, password=info.password or None)


@pytest.fixture
def connect(database_url: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """Opens further connections to the test's database, closed at its end."""
    with ExitStack() as opened:

        def open_one() -> psycopg.Connection:
            uri = database_url.replace("postgresql+psycopg://", "postgresql://")
            return opened.enter_context(psycopg.connect(uri))

        yield open_one
