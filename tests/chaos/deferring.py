"""Deferring all the time, by a thread and in an event loop, and what of it was acknowledged."""

import asyncio
import itertools
import random
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from taskq import App, Task
from taskq.deferrer import Deferrer
from tests.chaos.program import PLAIN, WITH_EFFECT

LOCKS = ("a", "b")
_PAUSE = 0.05  # seconds between two defers


class Acknowledged(NamedTuple):
    """A job whose defer has returned.

    Attributes:
        number: What the job is about, as its task notes it.
        asked: When its defer began, by this machine's monotonic clock.
        at: When it returned.
    """

    number: int
    job_id: int
    asked: float
    at: float


def some_job(rng: random.Random) -> tuple[Deferrer[..., Any], float]:
    """A task with options, and how long its job takes."""
    task = rng.choice((*PLAIN, *WITH_EFFECT))
    lock = rng.choice((None, None, None, *LOCKS))
    seconds = 0.0 if lock else rng.choice((0.0, 0.005, 0.03, 0.2))
    return task.configure(lock=lock, priority=rng.choice((0, 0, 1))), seconds


class Deferring:
    """Two threads that defer until they are ended; whatever fails, they go on.

    Args:
        url: The database, as they reach it.
        seed: What they defer follows from it.
    """

    def __init__(self, url: str, seed: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged: list[Acknowledged] = []
        self.refused: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=run, args=(random.Random(f"{seed}-{name}"),), daemon=True)
            for name, run in (("sync", self._defer), ("async", self._defer_in_a_loop))
        ]
        for thread in self._threads:
            thread.start()

    def count(self) -> int:
        """How many have been acknowledged."""
        return len(self.acknowledged)

    def defer(self, task: Task[..., Any], number: int, *, seconds: float) -> None:
        """Defer one job besides."""
        with App(self._url) as app:
            asked = time.monotonic()
            [job_id] = app.job_manager.defer_jobs(
                [task.configure().prepare(number=number, seconds=seconds)]
            )
            self._note(number, job_id, asked)

    def end(self) -> None:
        """Defer no more; returns once nothing is on its way."""
        self._end.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a defer does not return"

    def _defer(self, rng: random.Random) -> None:
        with App(self._url) as app:
            while not self._end.is_set():
                deferrer, seconds = some_job(rng)
                number, asked = next(self._numbers), time.monotonic()
                try:
                    [job_id] = app.job_manager.defer_jobs(
                        [deferrer.prepare(number=number, seconds=seconds)]
                    )
                except Exception as error:
                    self._note_refused(error)
                else:
                    self._note(number, job_id, asked)
                self._end.wait(_PAUSE)

    def _defer_in_a_loop(self, rng: random.Random) -> None:
        async def defer() -> None:
            async with App(self._url).open_async() as app:
                while not self._end.is_set():
                    deferrer, seconds = some_job(rng)
                    number, asked = next(self._numbers), time.monotonic()
                    try:
                        [job_id] = await app.job_manager.defer_jobs_async(
                            [deferrer.prepare(number=number, seconds=seconds)]
                        )
                    except Exception as error:
                        self._note_refused(error)
                    else:
                        self._note(number, job_id, asked)
                    await asyncio.sleep(_PAUSE)

        asyncio.run(defer())

    def _note(self, number: int, job_id: int | None, asked: float) -> None:
        assert job_id is not None
        self.acknowledged.append(Acknowledged(number, job_id, asked, time.monotonic()))

    def _note_refused(self, error: Exception) -> None:
        with self._lock:
            self.refused[type(error).__name__] += 1
