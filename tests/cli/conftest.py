"""The program, as a process of its own and in this one."""

import io
import logging
import os
import pty
import re
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from taskq.cli.program import program
from taskq.database.database import Database
from taskq.manager import JobManager
from tests.sql.sqlc import ROOT

SHOP = "tests.cli.shop:app"

Taskq = Callable[..., Result]
OnATerminal = Callable[..., tuple[str, str]]
Process = subprocess.Popen[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str) -> Iterator[None]:
    """The test's database is the one that the environment names, and nothing else is named in it."""
    for name in os.environ:
        # COLUMNS is there where readline was imported, which pytest does.
        if name.startswith(("TASKQ_", "PG")) or name == "COLUMNS":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TASKQ_DATABASE_URL", database_url)
    monkeypatch.chdir(ROOT)
    yield
    # Its app is on this test's database.
    sys.modules.pop("tests.cli.shop", None)
    # What the program turned up or down is the whole process's.
    for name in ("taskq", "taskq.worker.attempt"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def taskq() -> Taskq:
    """Runs the program in this process."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> Result:
        sys.modules.pop("tests.cli.shop", None)
        return CliRunner().invoke(program, arguments, env=env, prog_name="taskq")

    return run


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> OnATerminal:
    """Runs the program in this process on a terminal; what it shows there, and what it says on stderr."""

    def run(*arguments: str, env: Mapping[str, str]) -> tuple[str, str]:
        sys.modules.pop("tests.cli.shop", None)
        ours, theirs = pty.openpty()
        tty.setraw(theirs)
        with monkeypatch.context() as patch, ThreadPoolExecutor() as pool:
            for name, value in env.items():
                patch.setenv(name, value)
            reading = pool.submit(_all_of, ours)
            with (
                open(theirs, "w") as terminal,
                redirect_stdout(terminal),
                redirect_stderr(io.StringIO()) as said,
            ):
                program.main(arguments, prog_name="taskq", standalone_mode=False)
            return re.sub(r"\x1b\[[\d;]*m", "", reading.result()), said.getvalue()

    return run


def _all_of(terminal: int) -> str:
    shown = b""
    # Linux fails where the other end is closed.
    with open(terminal, "rb", buffering=0) as reader, suppress(OSError):
        while part := reader.read(65536):
            shown += part
    return shown.decode()


@contextmanager
def process(
    *arguments: str, cwd: Path = ROOT, launcher: Sequence[str] = (), **options: object
) -> Iterator[Process]:
    """Runs the program as a process, by way of another one if need be; it does not outlive the test."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [*launcher, sys.executable, "-m", "taskq", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": path},
        text=True,
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),  # type: ignore[call-overload]
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def ended(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Runs the program as a process to its end."""
    with process(*arguments, cwd=cwd) as started:
        stdout, stderr = started.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, started.returncode, stdout, stderr)


@pytest.fixture
def manager(database_url: str) -> Iterator[JobManager]:
    """The jobs in the test's database."""
    database = Database.resolve(database_url)
    yield JobManager(database)
    database.close()
