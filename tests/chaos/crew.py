"""Worker processes, and what is done to them."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from taskq.database.database import URL_VARIABLE
from tests.chaos.program import NOTES_VARIABLE

ROOT = Path(__file__).parents[2]
STALLED_AFTER = 2.0  # seconds

OPTIONS: Mapping[str, object] = {
    "CONCURRENCY": 6,
    "FETCH_JOB_POLLING_INTERVAL": 2,
    "ABORT_JOB_POLLING_INTERVAL": 0.5,
    "UPDATE_HEARTBEAT_INTERVAL": 0.4,
    "STALLED_WORKER_TIMEOUT": STALLED_AFTER,
    "BLOCKED_LOOP_TIMEOUT": 1,
    # The deaths here are no fault of a job.
    "MAX_CRASHES": 1_000_000,
}


class Crew:
    """Workers, of which one that was killed is replaced, and none may end by itself.

    Args:
        url: The database, as the workers reach it.
        folder: Where their log and their notes go.
        environment: Variables for them.
        size: How many they are.
    """

    def __init__(
        self, url: str, folder: Path, *, environment: Mapping[str, str] | None = None, size: int = 2
    ) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        self.log = folder / "workers.log"
        self._url = url
        self._environment = environment or {}
        self._numbers = itertools.count(1)
        self._names: dict[int, str] = {}
        self.workers = [self._start() for _ in range(size)]

    def kill(self, index: int) -> None:
        """Kill one, and start another in its place."""
        worker = self.workers[index]
        assert worker.poll() is None, f"worker {worker.pid} ended by itself: see {self.log}"
        worker.kill()
        worker.wait()
        _close(worker)
        self.workers[index] = self._start()

    def pause(self, index: int) -> None:
        """Stop one in the middle of whatever it does."""
        self.workers[index].send_signal(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """Let one that was paused go on."""
        self.workers[index].send_signal(signal.SIGCONT)

    def names(self) -> list[str]:
        """What those are called that were not killed."""
        return sorted(self._names[worker.pid] for worker in self.workers)

    def ended(self) -> list[int]:
        """The exit codes of those that ended by themselves."""
        return [code for worker in self.workers if (code := worker.poll()) is not None]

    def stop(self) -> list[int]:
        """Ask them all to stop; their exit codes."""
        for worker in self.workers:
            worker.terminate()
        return [worker.wait(30) for worker in self.workers]

    def close(self) -> None:
        """Kill those that still run."""
        for worker in self.workers:
            worker.kill()
            worker.wait()
            _close(worker)

    def _start(self) -> "subprocess.Popen[bytes]":
        options = {f"TASKQ_WORKER_{name}": str(value) for name, value in OPTIONS.items()}
        options["TASKQ_WORKER_NAME"] = name = f"worker-{next(self._numbers)}"
        with self.log.open("ab") as log:
            worker = subprocess.Popen(
                [sys.executable, "-m", "tests.chaos.program"],
                cwd=ROOT,
                env={
                    **os.environ,
                    **options,
                    **self._environment,
                    URL_VARIABLE: self._url,
                    NOTES_VARIABLE: str(self.notes),
                },
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._names[worker.pid] = name
        return worker


def _close(worker: "subprocess.Popen[bytes]") -> None:
    if worker.stdin is not None:
        worker.stdin.close()
