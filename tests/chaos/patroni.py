"""A primary and its synchronous standby that Patroni keeps, with etcd, as Debian has both."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.error import URLError

from benchmarks.server import installed
from tests.chaos.server import Server, free_port

PROGRAMS = ("etcd", "patroni")


def missing() -> str | None:
    """What is not installed that it needs."""
    wanted = [program for program in PROGRAMS if shutil.which(program) is None]
    if not installed():
        wanted.append("Debian's PostgreSQL")
    return ", ".join(wanted) or None


class Node:
    """A server and the Patroni that keeps it.

    Args:
        name: Its name in the cluster.
        folder: Where its files go; its user can write there.
        etcd: The port of etcd.
    """

    def __init__(self, name: str, folder: Path, etcd: int) -> None:
        self.name = name
        self._api = free_port()
        # Which Patroni creates, and starts.
        self.server = Server(folder)
        self._log = folder / f"patroni-{name}.log"
        self._configuration = folder / f"{name}.json"
        # YAML, of which JSON is a part.
        self._configuration.write_text(json.dumps(self._configured(folder, etcd)))
        self._user = self.server.user
        self._process = self._start()

    def role(self) -> str:
        """What Patroni says it is: ``master``, ``replica``, ``sync_standby``; empty if it says nothing."""
        try:
            url = f"http://127.0.0.1:{self._api}/patroni"
            with urllib.request.urlopen(url, timeout=2) as answer:
                said = json.load(answer)
        except (URLError, OSError, ValueError):
            return ""
        if said.get("sync_standby"):
            return "sync_standby"
        return str(said.get("role", "")) if said.get("state") == "running" else ""

    def kill(self) -> None:
        """End Patroni and the server with SIGKILL, as the loss of the machine does."""
        self._process.kill()
        self._process.wait()
        self.server.kill()

    def restart(self) -> None:
        """Have Patroni take care of it again."""
        self._process = self._start()

    def close(self) -> None:
        """End both."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self.server.stop("immediate")

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["patroni", str(self._configuration)],
                user=self._user and self._user.pw_uid,
                group=self._user and self._user.pw_gid,
                extra_groups=self._user and [],
                cwd=self._configuration.parent,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _configured(self, folder: Path, etcd: int) -> dict[str, object]:
        address = f"127.0.0.1:{self._api}"
        return {
            "scope": "chaos",
            "name": self.name,
            "restapi": {"listen": address, "connect_address": address},
            "etcd3": {"host": f"127.0.0.1:{etcd}"},
            "bootstrap": {
                "dcs": {
                    # The shortest that it takes.
                    "ttl": 20,
                    "loop_wait": 1,
                    "retry_timeout": 3,
                    "synchronous_mode": True,
                    "postgresql": {
                        "use_pg_rewind": True,
                        "parameters": {"max_connections": 60, "wal_log_hints": "on"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, "no-locale", {"auth": "trust"}],
            },
            "postgresql": {
                "listen": f"127.0.0.1:{self.server.port}",
                "connect_address": f"127.0.0.1:{self.server.port}",
                "data_dir": str(self.server.data),
                "bin_dir": str(installed()[0]),
                "pgpass": str(folder / f"pgpass-{self.name}"),
                "authentication": {
                    "superuser": {"username": "postgres"},
                    "replication": {"username": "postgres"},
                    "rewind": {"username": "postgres"},
                },
                "parameters": {"unix_socket_directories": str(folder)},
                "pg_hba": [
                    "local all all trust",
                    "host all all 127.0.0.1/32 trust",
                    "host replication all 127.0.0.1/32 trust",
                ],
            },
        }


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Node, Node]]:
    """A primary and a synchronous standby, in this order."""
    user = Server(folder).user
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    with ExitStack() as stack:
        etcd = stack.enter_context(_etcd(folder, user))
        first = Node("one", folder, etcd)
        stack.callback(first.close)
        await_roles({first: "master"})
        second = Node("two", folder, etcd)
        stack.callback(second.close)
        await_roles({first: "master", second: "sync_standby"})
        yield first, second


def await_roles(wanted: dict[Node, str]) -> None:
    """Wait until Patroni says so."""
    deadline = time.monotonic() + 90
    while True:
        roles = {node: node.role() for node in wanted}
        if roles == wanted:
            return
        assert time.monotonic() < deadline, {node.name: role for node, role in roles.items()}
        time.sleep(0.1)


@contextmanager
def _etcd(folder: Path, user: pwd.struct_passwd | None) -> Iterator[int]:
    client, peer = free_port(), free_port()
    here, there = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    with (folder / "etcd.log").open("ab") as log:
        process = subprocess.Popen(
            [
                "etcd",
                *("--name", "default", "--data-dir", str(folder / "etcd")),
                *("--listen-client-urls", here, "--advertise-client-urls", here),
                *("--listen-peer-urls", there, "--initial-advertise-peer-urls", there),
                *("--initial-cluster", f"default={there}"),
            ],
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield client
    finally:
        process.kill()
        process.wait()
