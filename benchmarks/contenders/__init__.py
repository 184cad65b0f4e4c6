"""The queues that are compared, each behind the same few operations, run in a process of its own."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter


class Contender(ABC):
    """One queue with one task that does nothing but say that it started.

    Args:
        url: The database, as libpq takes it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.starts: list[float] = []
        self._awaited = 0
        self._enough = asyncio.Event()

    def on_start(self) -> None:
        """What the task does."""
        self.starts.append(perf_counter())
        if len(self.starts) >= self._awaited:
            self._enough.set()

    async def started(self, jobs: int) -> None:
        """Wait until so many jobs have started in all."""
        self._awaited = jobs
        if len(self.starts) < jobs:
            self._enough.clear()
            await self._enough.wait()

    @abstractmethod
    async def prepare(self) -> None:
        """Install the queue in an empty database, and connect."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @abstractmethod
    async def defer_one(self) -> None:
        """Defer a job, and return when it is in the database."""

    @abstractmethod
    async def defer_many(self, jobs: int) -> None:
        """Defer jobs in the way that the queue has for many."""

    @abstractmethod
    async def work(self, concurrency: int) -> None:
        """Run a worker until cancelled."""

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        """A worker runs in the background."""
        task = asyncio.create_task(self.work(concurrency))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])
