"""What the parts of a worker have in common: a small life of start, one loop, and stop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable


class Part(ABC):
    """A background loop of a worker."""

    _task: asyncio.Task[None] | None = None

    def start(self, broken: Callable[[BaseException], None]) -> None:
        """Start the loop.

        Args:
            broken: Called if the loop ends with an error, which is a bug: errors of the database are
                handled in the loop.
        """

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                broken(error)

        self._task = asyncio.create_task(self.loop(), name=f"taskq {type(self).__name__}")
        self._task.add_done_callback(done)

    async def stop(self) -> None:
        """Stop the loop, wherever it is. Does nothing twice."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @abstractmethod
    async def loop(self) -> None:
        """Run until cancelled."""


class Alarm:
    """Something to wait for that is set from anywhere in the loop, or rings by itself after a time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def ring(self) -> None:
        """End the present wait, or the next one if nobody waits."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until somebody rings, or so many seconds have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
