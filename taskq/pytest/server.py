"""An embedded server for a test run, which all of xdist's workers share, and whose data go with it."""

import os
import shutil
from pathlib import Path

import psycopg

from taskq.embedded import EmbeddedServer
from taskq.embedded.flock import exclusive

# What the server's files take at most, with room to spare: its log alone may have a gigabyte.
_IN_MEMORY = 4 * 2**30

# What the data are of no use for after a crash is not done; and a big machine has many of xdist's workers.
_SETTINGS = (
    "autovacuum_naptime = '1min'",
    "fsync = off",
    "full_page_writes = off",
    "synchronous_commit = off",
    "max_connections = 500",
)


def start_server(folder: Path) -> EmbeddedServer:
    """Start a server in a folder, or use the one that another process has started there.

    Args:
        folder: Where; made if it is not there.

    Raises:
        EmbeddedServerError: It does not start.
    """
    folder.mkdir(mode=0o711, exist_ok=True)
    server = EmbeddedServer(folder)
    # The first sets it up, before another one uses it.
    with exclusive(folder / "set_up"):
        url = server.start()
        ready = folder / "ready"
        if not ready.exists():
            with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
                for setting in _SETTINGS:
                    connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            server.stop()
            server.start()
            ready.touch()
    return server


def in_memory() -> Path | None:
    """Where files are kept in memory, if there is such a place with room.

    A database of its own for each test is three hundred files, of which a disk made a quarter of a run.
    """
    memory = Path("/dev/shm")  # noqa: S108 - folders in it get names that no other one has
    if os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _IN_MEMORY:
        return memory
    return None
