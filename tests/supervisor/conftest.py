"""The command with several processes, as a process of its own."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from taskq import App, JobManager
from taskq.database.database import Database
from tests.sql.sqlc import ROOT

FARM = "tests.supervisor.farm:app"

StartFarm = Callable[..., "Farm"]


class Farm:
    """A supervisor, what it and its processes say, and who they are."""

    def __init__(self, *arguments: str, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "taskq", "worker", *arguments],
            cwd=ROOT,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._seen: set[int] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        self.lines.extend(iter(self.process.stderr.readline, ""))

    def wait_for(self, pattern: str, times: int = 1, seconds: float = 40) -> list[re.Match[str]]:
        """Wait until so many lines have been said that are like this."""
        deadline = time.monotonic() + seconds
        while True:
            found = [match for line in self.lines if (match := re.search(pattern, line))]
            if len(found) >= times:
                return found
            assert time.monotonic() < deadline, f"{pattern!r} in {''.join(self.lines)}"
            time.sleep(0.02)

    def wait_until_started(self, workers: int) -> dict[str, int]:
        """The processes by name, once so many workers have started."""
        found = self.wait_for(r"INFO (\S+)\[(\d+)\] taskq.worker: .* has started", workers)
        pids = {match[1]: int(match[2]) for match in found}
        self._seen.update(pids.values())
        return pids

    def ended(self, seconds: float = 120) -> int:
        """Wait for its end; returns the exit code."""
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def close(self) -> None:
        found = [self.process.pid, *self._seen]
        with suppress(psutil.NoSuchProcess):
            found += [child.pid for child in psutil.Process(self.process.pid).children(True)]
        for pid in found:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()
        self.process.wait()
        self._reader.join(10)
        assert self.process.stderr
        self.process.stderr.close()


@pytest.fixture
def start_farm(database_url: str, tmp_path: Path) -> Iterator[StartFarm]:
    """Starts the command; all of it is gone at the end of the test."""
    farms: list[Farm] = []

    def start(*arguments: str, app: str = FARM, **variables: str) -> Farm:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("TASKQ_")
        }
        environment = inherited | {"TASKQ_DATABASE_URL": database_url, "TASKQ_APP": app} | variables
        farms.append(Farm(*arguments, environment=environment))
        return farms[-1]

    yield start
    for farm in farms:
        farm.close()


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as app:
        yield app


@pytest.fixture
def manager(database_url: str) -> Iterator[JobManager]:
    """The jobs in the test's database."""
    database = Database.resolve(database_url)
    yield JobManager(database)
    database.close()


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
