"""The queues that are compared, each behind the same few operations, run in a process of its own."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

# How long the task takes that keeps a worker busy.
NAP = 0.02  # seconds


class Contender(ABC):
    """One queue with a task that does nothing but say that it started, and one that takes a nap.

    Args:
        url: The database, as libpq takes it.
        sync: Whether the task that does nothing is a sync one.
    """

    def __init__(self, url: str, *, sync: bool = False) -> None:
        self.url = url
        self.sync = sync
        self.starts: list[float] = []
        self._awaited = 0
        self._enough = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def on_start(self) -> None:
        """What the task does."""
        self.starts.append(perf_counter())
        if len(self.starts) >= self._awaited:
            self._enough.set()

    def on_start_in_thread(self) -> None:
        """What the sync task does."""
        self.starts.append(perf_counter())
        if len(self.starts) >= self._awaited:
            self._loop.call_soon_threadsafe(self._enough.set)

    async def started(self, jobs: int) -> None:
        """Wait until so many jobs have started in all."""
        self._enough.clear()
        self._awaited = jobs
        if len(self.starts) < jobs:
            await self._enough.wait()

    @abstractmethod
    async def install(self) -> None:
        """Install the queue in an empty database, and leave no connection."""

    @abstractmethod
    async def open(self) -> None:
        """Connect."""

    @abstractmethod
    async def close(self) -> None:
        """Disconnect."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Connected for so long."""
        await self.open()
        try:
            yield
        finally:
            await self.close()

    @abstractmethod
    async def defer_one(self) -> None:
        """Defer a job, and return when it is in the database."""

    async def defer_heard(self) -> None:
        """Defer a job of which an idle worker hears."""
        await self.defer_one()

    async def defer_at_once(self, jobs: int) -> None:
        """Defer jobs one by one, all at the same time."""
        await asyncio.gather(*(self.defer_one() for _ in range(jobs)))

    @abstractmethod
    async def defer_many(self, jobs: int) -> None:
        """Defer jobs in the way that the queue has for many."""

    async def defer_naps(self, jobs: int) -> None:
        """Defer jobs of the task that takes a nap, in the same way."""
        raise NotImplementedError

    async def defer_locked(self, jobs: int, locks: int) -> None:
        """Defer jobs of so many locks, in turn, in the same way."""
        raise NotImplementedError

    async def defer_limited(self, jobs: int, keys: int) -> None:
        """Defer jobs of so many keys, in turn, of each of which one may run at once."""
        raise NotImplementedError

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
