"""A data directory and the PostgreSQL server that runs on it."""

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from taskq.embedded.root_access import RootAccess
from taskq.embedded.wheel import open_wheel
from taskq.escaping import get_logger
from taskq.exceptions import EmbeddedServerError

PORT = 5432
ROLE = "postgres"

# A crash leaves at most max_wal_size to replay; a stop, at most shared_buffers to write.
_PATIENCE_SECONDS = 120

_SOCKET = f".s.PGSQL.{PORT}"

# What the strictest systems take, without the zero at the end.
_SOCKET_PATH_BYTES = 103

# More than any kernel gives to a process.
_UNUSED_PID = 2**31 - 1

# It often runs for seconds, and autovacuum comes by once a minute, so that it never would.
_CONFIGURATION = "autovacuum_naptime = 2s\n"

_logger = get_logger("taskq.embedded")


class Cluster:
    """One data directory and its server. The caller of a method holds the mutex of the folder.

    Args:
        folder: Where the data directory lies, or will; absolute, without symbolic links.

    Raises:
        EmbeddedServerError: The wheel is not installed, or does not work here.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wheel = open_wheel()
        self._data = folder / f"postgresql-{self._wheel.version}"
        path = os.fsencode(self._data / _SOCKET)
        # libpq takes a comma for the end of the host.
        fits = len(path) <= _SOCKET_PATH_BYTES and b"," not in path
        self._sockets_link = None if fits else folder / "sockets"
        self._programs_link = folder / "programs"
        self._root_access = RootAccess()

    @property
    def sockets(self) -> Path:
        """The directory of the server's socket: that of the data, unless its path forbids it."""
        return self._sockets_link.readlink() if self._sockets_link else self._data

    def start(self) -> None:
        """See to it that a server runs on the data, which is created if there is none.

        Raises:
            EmbeddedServerError: It does not start, or the data is of another major version.
            OSError: The folder cannot be used.
        """
        runs = self._is_alive() and self._answers()
        if not runs:
            self.stop()  # one that lost its socket, or what a killed one left
            self._make_links()
        self._let_user_through()
        if not runs:
            self._create_data()
            self._launch()

    def stop(self) -> None:
        """Stop the server, cutting what is still connected. Does nothing if none runs.

        Raises:
            EmbeddedServerError: It does not stop.
        """
        if self._is_alive():
            self._run("pg_ctl", "stop", "--wait", f"--timeout={_PATIENCE_SECONDS}", "--mode=fast")
        if self._sockets_link and self._sockets_link.is_symlink():
            shutil.rmtree(self.sockets, ignore_errors=True)
            self._sockets_link.unlink()
        self._programs_link.unlink(missing_ok=True)

    def leave(self) -> None:
        """Take back what let the server's user through, unless another server needs it."""
        self._root_access.close()

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(self.sockets / _SOCKET))
        except OSError:
            return False
        return True

    def _is_alive(self) -> bool:
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            os.kill(pid, 0)
            # After a reboot, or in a new container, the recorded pid may be another process's.
            command = Path(f"/proc/{pid}/cmdline")
            named = command.read_bytes().split(b"\0") if command.exists() else [bytes(self._data)]
            return bytes(self._data) in named
        except (OSError, ValueError):
            return False

    def _make_links(self) -> None:
        self._programs_link.symlink_to(self._wheel.programs)
        if self._sockets_link:
            directory = Path(tempfile.mkdtemp(prefix="taskq-")).resolve()
            self._give_to_user(directory)
            self._sockets_link.symlink_to(directory)

    def _let_user_through(self) -> None:
        if not self._wheel.user:
            return
        # The server may have been started from another installation than ours.
        programs = [self._wheel.programs, self._programs_link.readlink()]
        needed = [self._data, self.sockets, *(path / "postgres" for path in programs)]
        names = self._wheel.user.pw_name, str(self._data)
        message = "PostgreSQL runs as the system user %s in %s"
        if opened := self._root_access.open(*needed):
            message += "; until it stops, everybody may pass through %s"
            _logger.warning(message, *names, ", ".join(map(str, opened)))
        else:
            _logger.info(message, *names)

    def _create_data(self) -> None:
        versions = {
            file.parent: file.read_text().strip()
            for file in sorted(self._folder.glob("postgresql-*/PG_VERSION"))
        }
        if versions.get(self._data) == self._wheel.version:
            return
        for data, version in versions.items():
            raise EmbeddedServerError(
                f"{data} is the data of PostgreSQL {version}, not {self._wheel.version}: "
                f"set PGSERVER_POSTGRES_VERSION={version} to go on with it, "
                "or move it away to begin anew"
            )
        # Under another name until it is complete, as an initdb that is killed leaves its work.
        unfinished = self._folder / "unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        self._give_to_user(unfinished)
        self._run(
            "initdb",
            f"--username={ROLE}",
            "--encoding=UTF8",
            "--no-locale",
            # Only the owner of the data can reach the socket, and nothing listens on a network.
            "--auth-local=trust",
            "--auth-host=reject",
            data=unfinished,
        )
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        unfinished.rename(self._data)

    def _launch(self) -> None:
        self._correct_recorded_pid()
        # pg_ctl hands the options to a shell. The data, which it knows from the environment, is
        # named once more for _is_alive to see.
        options = shlex.join(
            ["-D", str(self._data), "-h", "", "-k", str(self.sockets), "-p", str(PORT)]
        )
        log = self._data / "server.log"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            read = log.stat().st_size if log.exists() else 0
            try:
                return self._run(
                    "pg_ctl",
                    "start",
                    "--wait",
                    f"--timeout={_PATIENCE_SECONDS}",
                    f"--options={options}",
                    f"--log={log.name}",
                )
            except EmbeddedServerError as error:
                reasons = _fatal_lines(log, read)
                # Busy sessions of a server that was killed go on for a while.
                if "shared memory block" in reasons and time.monotonic() < deadline:
                    continue
                raise EmbeddedServerError(f"{error} {reasons} (log: {log})") from error

    def _correct_recorded_pid(self) -> None:
        # PostgreSQL refuses to start while the recorded pid is that of any process of its user. The
        # rest of the record stays: it says whether sessions of a killed server still run.
        record = self._data / "postmaster.pid"
        with suppress(FileNotFoundError):
            _, _, rest = record.read_text().partition("\n")
            corrected = self._folder / record.name
            corrected.write_text(f"{_UNUSED_PID}\n{rest}")
            self._give_to_user(corrected)
            corrected.replace(record)
        (self.sockets / f"{_SOCKET}.lock").unlink(missing_ok=True)

    def _give_to_user(self, path: Path) -> None:
        if user := self._wheel.user:
            os.chown(path, user.pw_uid, user.pw_gid)

    def _run(self, program: str, *arguments: str, data: Path | None = None) -> None:
        directory = data or self._data
        user = self._wheel.user
        kept = ("PATH", "TZ", "LD_LIBRARY_PATH")
        try:
            subprocess.run(  # noqa: S603 - no shell, and the program is the wheel's
                [self._wheel.programs / program, *arguments],
                check=True,
                cwd=directory,
                # Nothing else: PGPORT and its like would change what is started.
                env={name: os.environ[name] for name in kept if name in os.environ}
                | {"LC_ALL": "C", "PGDATA": str(directory)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and [],
            )
        except OSError as error:
            name = user.pw_name if user else "you"
            raise EmbeddedServerError(
                f"{program} cannot be run by {name} in {directory}: {error}"
            ) from error
        except subprocess.CalledProcessError as error:
            said = " ".join(error.stdout.split())
            raise EmbeddedServerError(f"{program} fails in {directory}: {said}") from error


def _fatal_lines(log: Path, start: int) -> str:
    with suppress(FileNotFoundError), log.open(errors="replace") as lines:
        lines.seek(start)
        return " ".join(line.strip() for line in lines if "FATAL:" in line)
    return ""
