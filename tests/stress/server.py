"""A server of the stress test's own, whose log nothing else writes into."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from taskq.database.database import Database
from taskq.embedded import EmbeddedServer
from taskq.pytest.server import in_memory
from taskq.schema import SchemaManager

_SETTINGS = (
    # These data are of no use after a crash.
    "fsync = off",
    "full_page_writes = off",
    "max_connections = 300",
    # Who waits for who holds what it waits for: found before a session gives up.
    "deadlock_timeout = '100ms'",
    "log_line_prefix = '%m [%p] %a: '",
)


@contextmanager
def own_server() -> Iterator[tuple[str, Path]]:
    """Start one, with the schema; its URL, for SQLAlchemy, and its log."""
    with tempfile.TemporaryDirectory(prefix="taskq-stress-", dir=in_memory()) as scratch:
        folder = Path(scratch)
        # So that root need not open it to the server's own user.
        folder.chmod(0o711)
        server = EmbeddedServer(folder / "server")
        with psycopg.connect(server.start().replace("+psycopg", ""), autocommit=True) as connection:
            for setting in _SETTINGS:
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        server.stop()
        with server:
            database = Database.resolve(server.url)
            SchemaManager(database).apply_schema()
            database.close()
            [log] = (folder / "server").glob("postgresql-*/server.log")
            yield server.url, log
