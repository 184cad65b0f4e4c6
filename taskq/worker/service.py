"""What the services of a worker have in common: a small life of start, one loop, and stop."""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

from taskq.telemetry import Telemetry, ThreadLeftBehind

P = ParamSpec("P")

# How long the thread of a service may take to end.
_END_WITHIN = 6.0  # seconds


class Service(ABC):
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


class ThreadService(Service):
    """A service whose loop runs in a thread of its own, with an event loop of its own.

    Nothing that happens in the worker's event loop keeps it waiting. The thread does not keep a process
    from ending.

    Args:
        telemetry: Told if it does not end itself.
    """

    _stopped = False

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def start(self, broken: Callable[[BaseException], None]) -> None:
        """Start the loop; called in the worker's event loop, as ``stop`` is."""
        self._worker_loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._own_loop = asyncio.new_event_loop()
        self._task = self._own_loop.create_task(self._loop_and_finish())
        threading.Thread(
            target=self._run,
            args=[self._own_loop, self._task, broken],
            name=f"taskq {type(self).__name__}",
            daemon=True,
        ).start()

    async def stop(self) -> None:
        """Stop the loop, and wait for what it does at its end, within a bound. Does nothing twice."""
        if self._task is None or self._stopped:
            return
        self._stopped = True
        # It may have ended by itself.
        with suppress(RuntimeError):
            self._own_loop.call_soon_threadsafe(self._task.cancel)
        try:
            async with asyncio.timeout(_END_WITHIN):
                await self._ended.wait()
        except TimeoutError:
            self._telemetry.emit(ThreadLeftBehind(service=type(self).__name__))

    def tell(self, callback: Callable[P, object], *args: P.args, **_: P.kwargs) -> None:
        """Call something in the worker's event loop, as soon as it turns; called in the thread."""
        # The event loop may be closed: then there is nothing to call.
        with suppress(RuntimeError):
            self._worker_loop.call_soon_threadsafe(callback, *args)

    def call(self, callback: Callable[P, object], *args: P.args, **_: P.kwargs) -> None:
        """Call something in the thread; called anywhere else."""
        # It may have ended.
        with suppress(RuntimeError):
            self._own_loop.call_soon_threadsafe(callback, *args)

    async def finish(self) -> None:
        """What is to be done after the loop has ended, for whatever reason, in the thread."""

    async def _loop_and_finish(self) -> None:
        try:
            await self.loop()
        finally:
            await self.finish()

    def _run(
        self,
        own_loop: asyncio.AbstractEventLoop,
        task: "asyncio.Task[None]",
        broken: Callable[[BaseException], None],
    ) -> None:
        try:
            own_loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:
            self.tell(broken, error)
        finally:
            self.tell(self._ended.set)
            # Where names of hosts were looked up.
            own_loop.run_until_complete(own_loop.shutdown_default_executor())
            own_loop.close()


class Wakeup:
    """Something to wait for that is set from anywhere in the loop, or ends by itself after a time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        """End the present wait, or else the next one."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> None:
        """Wait until it is set, or so many seconds have passed."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
