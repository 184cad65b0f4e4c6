"""The processes of the stress test: each has a name, by which the server knows its sessions."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.stress.tasks import URL_VARIABLE

ROOT = Path(__file__).parents[2]


class Child:
    """A process that runs one of the modules here.

    Args:
        name: What it is called in what is recorded.
        module: The module's name.
        url: The database.
        folder: Where its standard error goes, into a file of its name.
        environment: Variables for it.
    """

    def __init__(
        self,
        name: str,
        module: str,
        url: str,
        folder: Path,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"tests.stress.{module}"],
                cwd=ROOT,
                env={
                    **os.environ,
                    **(environment or {}),
                    URL_VARIABLE: url,
                    "PGAPPNAME": name,
                },
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._thread = ThreadPoolExecutor(1)

    def ask(self, **command: Any) -> "Future[dict[str, Any]]":
        """Have it do something; the future is its answer."""
        return self._thread.submit(self._ask, command)

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended, with {self.process.wait()}: see {self.log}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
        self._thread.shutdown()


def commands() -> Iterator[dict[str, Any]]:
    """What a child is asked to do; ends with its parent. To be answered, each."""
    for line in sys.stdin:
        yield json.loads(line)


def answer(**values: Any) -> None:
    """Answer a command."""
    print(json.dumps(values), flush=True)


def end_with_the_parent() -> None:
    """Have a process that takes no commands end as well when its parent has."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
