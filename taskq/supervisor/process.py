"""WorkerProcess: one process, from its start to its end, and what it has told."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from taskq.supervisor.channel import Message, SupervisorChannel
from taskq.supervisor.restarts import Ended
from taskq.supervisor.variable import SUPERVISED
from taskq.worker.http.address import HttpAddress

_LAST_WORDS_WITHIN = 1.0  # seconds


class WorkerProcess:
    """A process with a worker.

    Args:
        number: Which of the supervisor's it is, from 1.
        told: Called in the event loop whenever it has told something.
    """

    def __init__(self, number: int, told: Callable[["WorkerProcess"], None]) -> None:
        self.name: str = f"worker-{number}"
        self.http: HttpAddress | None = None
        self.has_started: bool = False
        self._number = number
        self._told = told
        self._is_done = False
        self._loop = asyncio.get_running_loop()
        self._has_told_all = asyncio.Event()
        self._channel = SupervisorChannel(
            lambda message: self._in_loop(lambda: self._received(message)),
            ended=lambda: self._in_loop(self._has_told_all.set),
        )
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its number in the system; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    async def run(self, command: Sequence[str]) -> Ended:
        """Start it, and wait for its end.

        Args:
            command: The arguments of the interpreter.
        """
        began = time.monotonic()
        theirs = self._channel.theirs
        file = theirs.fileno()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[file],
            env=os.environ | {SUPERVISED: f"{self._number}:{file}"},
        )
        theirs.close()
        self._channel.start()
        code = await self._process.wait()
        # What it told last may still be on its way. What it has forked may keep the channel open.
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORDS_WITHIN):
                await self._has_told_all.wait()
        return Ended(code, time.monotonic() - began, self.has_started, self._is_done)

    def stop(self, *, leave: bool) -> None:
        """Ask it to stop, or to leave at once."""
        self._channel.send(stop=True, leave=leave)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    def ask(self, page: str) -> "Future[Message]":
        """Ask for a page; called in any thread."""
        return self._channel.ask(page)

    def _in_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # it is closed
            self._loop.call_soon_threadsafe(call)

    def _received(self, message: Message) -> None:
        if "name" in message:
            self.name = str(message["name"])
            self.http = None if message["http"] is None else HttpAddress(*message["http"])
        self.has_started |= bool(message.get("started"))
        self._is_done |= bool(message.get("done"))
        self._told(self)
