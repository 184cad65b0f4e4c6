"""A PostgreSQL server that can be stopped in each way, crash, and be promoted."""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg

from benchmarks.server import installed
from taskq.app import App
from taskq.embedded.wheel import open_wheel

TEMPLATE = "chaos_template"

# The owner of the databases, and no superuser: for those the server keeps some connections.
OWNER = "chaos"

SETTINGS = (
    # A process that crashes leaves to the kernel what it has written.
    "fsync = off",
    "max_connections = 60",
    "log_line_prefix = '%m [%p] %a: '",
)


def _programs() -> tuple[Path, pwd.struct_passwd | None]:
    """Those of the machine's PostgreSQL or of the wheel, and whom they run as in place of root."""
    if found := installed():
        if os.geteuid() != 0:
            return found[0], None
        try:
            return found[0], pwd.getpwnam("postgres")
        except KeyError:
            pass
    wheel = open_wheel()
    return wheel.programs, wheel.user


class Server:
    """A server on a port of this machine alone.

    Args:
        folder: Where its data go; its user can reach it.
        settings: Lines for its configuration, beside those that all have.
        environment: Variables for it.
        wal: Where its write-ahead log goes, if not among the data.
    """

    def __init__(
        self,
        folder: Path,
        *settings: str,
        environment: Mapping[str, str] | None = None,
        wal: Path | None = None,
    ) -> None:
        self._programs, self.user = _programs()
        self._environment = {"LC_ALL": "C", **(environment or {})}
        self._wal = wal
        self._settings = settings
        self.port = free_port()
        self.data = folder / f"data-{self.port}"
        self.log = folder / f"server-{self.port}.log"

    def create(self) -> None:
        """Make the data directory."""
        self.give_to_user(self.data, mkdir=True)
        elsewhere = [f"--waldir={self._wal}"] if self._wal else []
        self.run(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            *elsewhere,
        )
        self.configure(*SETTINGS, *self._settings)

    def copy_of(self, primary: "Server") -> None:
        """Make the data directory as that of a standby of a primary."""
        self.give_to_user(self.data, mkdir=True)
        self.run("pg_basebackup", f"--dbname={_replication(primary)}", "--checkpoint=fast")
        self.configure(*self._settings)
        self.follow(primary)

    def configure(self, *settings: str) -> None:
        """Write lines to the end of its configuration."""
        address = ("listen_addresses = '127.0.0.1'", f"port = {self.port}")
        sockets = f"unix_socket_directories = '{self.data}'"
        with (self.data / "postgresql.conf").open("a") as file:
            file.write("\n".join((*address, sockets, *settings)) + "\n")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.run("pg_ctl", "start", "--wait", "--timeout=60", f"--log={self.data / 'log'}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it, if it runs: ``fast`` as for a restart, ``immediate`` as in a crash."""
        if (self.data / "postmaster.pid").exists():
            self.run("pg_ctl", "stop", "--wait", "--timeout=60", f"--mode={mode}", check=False)

    def kill(self) -> None:
        """End it and its sessions with SIGKILL, as the loss of its machine does."""
        postmaster = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        # First what would otherwise notice and shut down in order.
        os.kill(postmaster, signal.SIGSTOP)
        for child in children(postmaster):
            os.kill(child, signal.SIGKILL)
        os.kill(postmaster, signal.SIGKILL)

    def follow(self, primary: "Server") -> None:
        """Have it be the standby of another one, when it is started."""
        self.configure(f"primary_conninfo = '{_replication(primary)}'")
        signal_file = self.data / "standby.signal"
        signal_file.touch()
        self.give_to_user(signal_file)

    def promote(self) -> None:
        """Make a standby the primary, and wait until it is."""
        self.run("pg_ctl", "promote", "--wait", "--timeout=60")

    def url(self, database: str, *, port: int | None = None, user: str = OWNER) -> str:
        """The URL of a database, as libpq takes it.

        Args:
            database: Its name.
            port: That of a proxy.
            user: As whom.
        """
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    @contextmanager
    def administrator(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        """A connection of the superuser in autocommit."""
        with psycopg.connect(
            self.url(database, user="postgres"), autocommit=True, connect_timeout=10
        ) as connection:
            yield connection

    def execute(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements as the superuser; the rows of the last one."""
        with self.administrator(database) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return [] if cursor.description is None else cursor.fetchall()

    def make_template(self) -> None:
        """Make the database that those of the tests are copies of."""
        self.execute(f"CREATE ROLE {OWNER} LOGIN", f"CREATE DATABASE {TEMPLATE} OWNER {OWNER}")
        with App(self.url(TEMPLATE)) as app:
            app.schema_manager.apply_schema()
        self.execute(
            f"SET ROLE {OWNER}",
            "CREATE TABLE effects (number bigint, job_id bigint, claim bigint)",
            database=TEMPLATE,
        )

    def make_database(self, name: str, *, template: str = TEMPLATE, options: str = "") -> None:
        """Make a database of the owner's."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER} {options}")

    def terminate(self, database: str) -> None:
        """End all sessions of a database."""
        self.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
        )

    @contextmanager
    def closed(self, database: str) -> Iterator[None]:
        """A database that lets no session in, and has none."""
        self.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        try:
            sessions = f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}'"
            deadline = time.monotonic() + 20
            while self.execute(sessions):
                assert time.monotonic() < deadline, f"sessions of {database} do not end"
                # Again, for one that was let in before and has come since.
                self.terminate(database)
                time.sleep(0.01)
            yield
        finally:
            self.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")

    def give_to_user(self, folder: Path, *, mkdir: bool = False) -> None:
        """Have a folder belong to the server's user."""
        if mkdir:
            folder.mkdir(mode=0o700)
        if self.user:
            os.chown(folder, self.user.pw_uid, self.user.pw_gid)

    def run(self, program: str, *arguments: str, check: bool = True) -> None:
        """Run one of PostgreSQL's programs on its data."""
        user = self.user
        # Not a pipe: the server that is started would keep it open.
        with self.log.open("ab") as log:
            done = subprocess.run(
                [str(self._programs / program), "-D", str(self.data), *arguments],
                check=False,
                cwd=self.data,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
            )
        if check and done.returncode:
            said = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{program} failed with {done.returncode}: {said}")


def _replication(primary: Server) -> str:
    return f"host=127.0.0.1 port={primary.port} user=postgres application_name=standby"


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listed.split()]


def free_port() -> int:
    """A port of this machine that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
