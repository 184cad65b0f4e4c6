"""The server that is measured: the machine's PostgreSQL if it has one, else the embedded one."""

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL

from taskq.embedded import EmbeddedServer

# Whom the machine's server runs as in place of root.
_USER = "postgres"

# Counts the queries of idle workers. All the rest is the server's default, durability above all.
_SETTING = "shared_preload_libraries = 'pg_stat_statements'"


def installed() -> list[Path]:
    """The programs of the machine's own PostgreSQL, the newest version first, where Debian has them."""
    found = (place.parent for place in Path("/usr/lib/postgresql").glob("[0-9][0-9]/bin/initdb"))
    return sorted(found, key=lambda place: int(place.parent.name), reverse=True)


@contextmanager
def own_server(*, embedded: bool = False) -> Iterator[str]:
    """A server with an empty data directory, which goes when it is over; as libpq takes it.

    Args:
        embedded: Whether it is the embedded one in any case.
    """
    programs = installed()
    if embedded or not programs or (os.geteuid() == 0 and not _exists(_USER)):
        with embedded_server() as url:
            yield url
    else:
        with server_of(programs[0], _SETTING) as url:
            yield url


@contextmanager
def embedded_server() -> Iterator[str]:
    """The embedded server, likewise."""
    with tempfile.TemporaryDirectory(prefix="taskq-bench-") as scratch:
        folder = Path(scratch)
        # The server runs as another user than root.
        folder.chmod(0o711)
        server = EmbeddedServer(folder / "server")
        with psycopg.connect(_plain(server.start()), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET {_SETTING}".encode())
        server.stop()
        with server:
            yield _plain(server.url)


@contextmanager
def server_of(programs: Path, *settings: str) -> Iterator[str]:
    """A server of an installed version, likewise.

    Args:
        programs: The directory of its programs.
        settings: Lines for its configuration.
    """
    with tempfile.TemporaryDirectory(prefix="taskq-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        data = folder / "data"
        data.mkdir(mode=0o700)
        user = _USER if os.geteuid() == 0 else None
        if user:
            os.chown(data, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)

        def run(program: str, *arguments: str) -> None:
            subprocess.run(
                [str(programs / program), "-D", str(data), *arguments],
                check=True,
                user=user,
                cwd=data,
                stdout=subprocess.DEVNULL,
                env={"LC_ALL": "C"},
            )

        run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale")
        lines = ("listen_addresses = ''", f"unix_socket_directories = '{data}'", *settings)
        with (data / "postgresql.conf").open("a") as conf:
            conf.write("\n".join(lines) + "\n")
        run("pg_ctl", "start", "--wait", f"--log={data / 'log'}")
        try:
            yield make_conninfo(host=str(data), user="postgres", dbname="postgres")
        finally:
            run("pg_ctl", "stop", "--wait", "--mode=fast")


@contextmanager
def fresh_database(server: str, name: str) -> Iterator[str]:
    """A database of its own on a server, dropped afterwards; its URL, as libpq takes it.

    Args:
        server: As libpq takes it, for a user who may create databases.
        name: What the database is called.
    """
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        # What went before shall not be written now.
        connection.execute("CHECKPOINT")
        info = connection.info
        url = URL.create("postgresql", info.user, info.password or None, database=name)
        # By hand, as SQLAlchemy writes slashes in a way that not every driver reads.
        named = f"{url.render_as_string(False)}?host={info.host}&port={info.port}"
    try:
        yield named
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _plain(url: str) -> str:
    return make_conninfo(url.replace("+psycopg", "", 1))
