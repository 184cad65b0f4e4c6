"""A user's part in the server of a folder: joining, leaving, and who does it last."""

import atexit
import os
import pwd
import threading
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from taskq.embedded.cluster import PORT, ROLE, Cluster
from taskq.embedded.flock import Share, exclusive
from taskq.embedded.project import project_name
from taskq.embedded.wheel import not_installed
from taskq.exceptions import EmbeddedServerError

FOLDER_VARIABLE = "TASKQ_EMBEDDED_FOLDER"
ROOT_FOLDER = Path("/var/lib/taskq")


def default_folder(environ: Mapping[str, str] = os.environ, *, name: str | None = None) -> Path:
    """Where an embedded server keeps its files by default.

    Args:
        environ: The environment.
        name: What the server is for, if it is not for the project that the calling code belongs to.

    Returns:
        What ``TASKQ_EMBEDDED_FOLDER`` says. Else a folder of that project's own: for root outside of any
        home, for others where this system keeps the data of a user's programs.

    Raises:
        EmbeddedServerError: The extra is not installed.
    """
    if named := environ.get(FOLDER_VARIABLE):
        return Path(named)
    return _data_folder() / (name or project_name())


def _data_folder() -> Path:
    if os.geteuid() == 0:
        return ROOT_FOLDER
    try:
        from platformdirs import user_data_path  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise not_installed() from error
    return user_data_path("taskq")


class EmbeddedServer:
    """One user's part in the server of a folder.

    Any number of them can use one folder, in any number of processes and threads. Leaving happens
    by ``stop``, at the end of a ``with`` block, and when the interpreter exits or is killed.

    Args:
        folder: Where the server keeps its files; ``default_folder()`` if not given.

    Raises:
        EmbeddedServerError: No folder was given, and the extra is not installed.
    """

    _cluster: Cluster | None
    _share: Share | None
    _url: str | None

    def __init__(self, folder: Path | None = None) -> None:
        self.folder: Path = (folder or default_folder()).expanduser().resolve()
        self._forget()

    @property
    def url(self) -> str:
        """Where to reach the server, for SQLAlchemy: ``postgresql+psycopg://…``.

        Raises:
            EmbeddedServerError: It was not started, or was stopped.
        """
        if self._url is None:
            raise EmbeddedServerError(f"the server in {self.folder} is not started: call start()")
        return self._url

    def start(self) -> str:
        """Use the server, starting it if it does not run: for the first time, or since it died.

        Returns:
            The ``url``.

        Raises:
            EmbeddedServerError: The extra is not installed, the folder cannot be used or belongs to
                another user, its data is of another major version, or the server does not start.
        """
        self._notice_fork()
        with self._busy:
            cluster = Cluster(self.folder) if self._cluster is None else self._cluster
            try:
                self._own_folder()
                with exclusive(self.folder / "mutex"):
                    self._join(cluster)
            except OSError as error:
                raise EmbeddedServerError(
                    f"the folder {self.folder} cannot be used: {error}; "
                    f"name another one with {FOLDER_VARIABLE}"
                ) from error
            return self.url

    def stop(self) -> None:
        """Leave the server, and stop it if no other process uses it. Does nothing if not started.

        Raises:
            EmbeddedServerError: It does not stop.
        """
        self._notice_fork()
        with self._busy:
            if self._cluster is not None:
                # A server whose folder is gone ends by itself.
                gone = not self.folder.exists()
                with nullcontext() if gone else exclusive(self.folder / "mutex"):
                    self._leave(self._cluster)

    def _own_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        owner = self.folder.stat().st_uid
        if owner != os.geteuid():
            raise EmbeddedServerError(
                f"the folder {self.folder} belongs to {_name(owner)}, not to "
                f"{_name(os.geteuid())}: name another one with {FOLDER_VARIABLE}"
            )

    def _join(self, cluster: Cluster) -> None:
        self._cluster = cluster
        try:
            if self._share is None:
                self._share = Share(self.folder / "users")
            cluster.start()
            host = quote(str(cluster.sockets))
        except BaseException:
            self._leave(cluster)
            raise
        self._url = f"postgresql+psycopg://{ROLE}@/{ROLE}?host={host}&port={PORT}"
        atexit.unregister(self.stop)
        atexit.register(self.stop)

    def _leave(self, cluster: Cluster) -> None:
        share = self._share
        self._url = self._share = self._cluster = None
        atexit.unregister(self.stop)
        try:
            if share is not None and share.leave():
                cluster.stop()
        finally:
            cluster.leave()

    def _notice_fork(self) -> None:
        # What was started is the parent's. Its child has no part in it, and must not end it.
        if self._process != os.getpid():
            self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._busy = threading.RLock()
        self._url = self._share = self._cluster = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


def _name(uid: int) -> str:
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return f"the user with id {uid}"
