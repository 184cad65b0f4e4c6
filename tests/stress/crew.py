"""The workers of the stress test: started, killed, stopped and paused, and what was done to them."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.stress import logs
from tests.stress.children import Child
from tests.stress.log import AFTER_A_PAUSE, Signal, Violation

STALLED_AFTER = 2.5  # seconds

# Of each worker: what it serves (None: all queues), how many jobs it runs at once, how many it claims beyond.
Layout = Sequence[tuple[str | None, int, int | str]]

LAYOUTS: Sequence[Layout] = (
    ((None, 8, "auto"), ("a,b", 2, 10), ("b,c", 1, "auto"), ("c,d,a", 5, 0)),
    ((None, 3, "auto"), (None, 1, 30), ("a", 2, "auto"), ("b,c,d", 10, "auto")),
    (("a,b", 4, "auto"), ("b,c", 1, "auto"), ("c,d", 6, 5), ("d,a", 2, "auto")),
)

_OPTIONS = {
    # So that a lost wake-up shows as a stall, and not as a slow run.
    "FETCH_JOB_POLLING_INTERVAL": 3600,
    # What a claim took whose answer was lost goes back at the second of these.
    "ABORT_JOB_POLLING_INTERVAL": 1,
    "UPDATE_HEARTBEAT_INTERVAL": 0.5,
    "STALLED_WORKER_TIMEOUT": STALLED_AFTER,
    # The deaths here are no fault of the code.
    "MAX_CRASHES": 100000,
}


class Crew:
    """Workers, one per place of a layout; another takes the place of one that was killed or has stopped.

    Args:
        layout: The places.
        url: The database.
        folder: Where their logs go.
    """

    def __init__(self, layout: Layout, url: str, folder: Path) -> None:
        self._layout = layout
        self._url = url
        self._folder = folder
        self._started = 0
        self._lock = threading.Lock()
        self._signals: list[Signal] = []
        self._retired: list[Child] = []
        self._workers = [self._start(place) for place in range(len(layout))]

    def disturb(self, rng: random.Random, seconds: float) -> Callable[[], None]:
        """Begin to disturb some of them, each once within so many seconds; call what it returns to wait."""
        places = rng.sample(range(len(self._layout)), rng.randrange(1, len(self._layout)))
        threads = ThreadPoolExecutor(len(places))
        futures = [
            threads.submit(self._disturb, place, random.Random(rng.random()), seconds)
            for place in places
        ]

        def wait() -> None:
            for future in futures:
                future.result()
            threads.shutdown()

        return wait

    def signals(self) -> list[Signal]:
        """What was done to them, also by a machine that was too busy."""
        late = [
            signal
            for worker in (*self._retired, *self._workers)
            for signal in logs.late(worker.name, _lines(worker))
        ]
        return [*self._signals, *late]

    def check(self) -> list[Violation]:
        """All of them run, or were made to end, and none has logged what no worker should log."""
        ended = [
            Violation("worker", f"{worker.name} ended by itself, with {worker.process.returncode}")
            for worker in self._workers
            if worker.process.poll() is not None
        ]
        logged = [
            violation
            for worker in (*self._retired, *self._workers)
            for violation in logs.of_worker(worker.name, _lines(worker))
        ]
        return ended + logged

    def forget(self) -> None:
        """Forget what was done to those that have ended, and what has no effect any more."""
        for worker in self._retired:
            worker.log.unlink()
        self._retired = []
        since = time.time() - AFTER_A_PAUSE
        self._signals = [signal for signal in self._signals if signal.until > since]

    def close(self) -> None:
        """End them all."""
        for worker in self._workers:
            worker.close()

    def _start(self, place: int) -> Child:
        queues, concurrency, prefetch = self._layout[place]
        options: dict[str, object] = {
            **_OPTIONS,
            "CONCURRENCY": concurrency,
            "PREFETCH": prefetch,
        }
        if queues is not None:
            options["QUEUES"] = queues
        with self._lock:
            self._started += 1
            name = f"worker-{place}.{self._started}"
        variables = {f"TASKQ_WORKER_{option}": str(value) for option, value in options.items()}
        return Child(name, "worker", self._url, self._folder, variables)

    def _disturb(self, place: int, rng: random.Random, seconds: float) -> None:
        time.sleep(rng.uniform(0.2, 1) * seconds)
        worker = self._workers[place]
        match rng.choice(("kill", "kill", "pause", "pause", "stop")):
            case "kill":
                # Before: it does nothing after that, and may have done nothing since.
                self._note(Signal(process=worker.name, kind="kill", at=time.time()))
                worker.process.kill()
                time.sleep(rng.choice((0, rng.uniform(0, 1))))
                self._replace(place)
            case "stop":
                self._note(Signal(process=worker.name, kind="stop", at=time.time()))
                worker.process.terminate()
                if rng.random() < 0.3:
                    time.sleep(rng.uniform(0, 0.1))
                    worker.process.terminate()  # it leaves at once
                worker.process.wait(30)
                self._replace(place)
            case "pause":
                began = time.time()
                os.kill(worker.process.pid, signal.SIGSTOP)
                time.sleep(rng.choice((rng.uniform(0.1, 1), rng.uniform(0.8, 1.8))) * STALLED_AFTER)
                os.kill(worker.process.pid, signal.SIGCONT)
                self._note(Signal(process=worker.name, kind="pause", at=began, until=time.time()))

    def _replace(self, place: int) -> None:
        former = self._workers[place]
        former.close()
        self._workers[place] = self._start(place)
        self._retired.append(former)

    def _note(self, done: Signal) -> None:
        self._signals.append(done)


def _lines(worker: Child) -> list[str]:
    return worker.log.read_text(errors="replace").splitlines()
