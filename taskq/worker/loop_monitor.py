"""Loop monitor: what keeps the worker's event loop from turning is named.

A task that computes, or waits without ``await``, blocks all other async tasks, claims and completions. The
monitor runs in another thread's event loop, asks the worker's one twice a second to call it back, and logs
where that one is if it does not.
"""

import asyncio
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress

from taskq.job import Job
from taskq.telemetry import LoopBlocked, LoopUnblocked, Telemetry
from taskq.worker.registration import Registration

_ASK_EVERY = 0.5  # seconds
_BLOCKED_AFTER = 1.0  # seconds
_CHECK_EVERY = 0.1  # seconds, while it is blocked

# The innermost calls of the blocked thread that are shown.
_CALLS_SHOWN = 20


class LoopMonitor:
    """Notices that the event loop it is made in does not turn.

    Args:
        registration: Whose event loop.
        telemetry: Told of it, in the other thread.
        jobs_of: Says which jobs a task of the event loop may belong to; called in the other thread.
    """

    def __init__(
        self,
        registration: Registration,
        *,
        telemetry: Telemetry,
        jobs_of: Callable[["asyncio.Task[object] | None"], Sequence[Job]],
    ) -> None:
        self._registration = registration
        self._telemetry = telemetry
        self._jobs_of = jobs_of
        self._monitored = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._asked_at = self._answered_at = time.monotonic()

    @property
    def blocked_for(self) -> float:
        """For how many seconds the event loop has not turned, as far as is known."""
        return 0 if self._is_answered else time.monotonic() - self._asked_at

    async def loop(self) -> None:
        """Ask, and see whether it answers, until the event loop is closed."""
        while not self._monitored.is_closed():
            self._ask()
            await asyncio.sleep(_ASK_EVERY)
            if not self._is_answered:
                await asyncio.sleep(self._asked_at + _BLOCKED_AFTER - time.monotonic())
            if not self._is_answered:
                await self._report_block()
            elif self._answered_at - self._asked_at > _BLOCKED_AFTER:
                # This thread could not run either: something kept the interpreter's lock.
                self._report_end(())

    @property
    def _is_answered(self) -> bool:
        return self._answered_at >= self._asked_at

    def _ask(self) -> None:
        self._asked_at = time.monotonic()
        with suppress(RuntimeError):
            self._monitored.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    async def _report_block(self) -> None:
        jobs = self._jobs_of(asyncio.current_task(self._monitored))
        frame = sys._current_frames().get(self._thread_id)
        stack = "".join(traceback.format_stack(frame, limit=_CALLS_SHOWN)) if frame else ""
        self._telemetry.emit(
            LoopBlocked(
                worker_id=self._registration.id,
                worker_name=self._registration.name,
                jobs=jobs,
                seconds=self.blocked_for,
                stack=stack,
            )
        )
        # It may be closed instead, and never answer.
        while not (self._is_answered or self._monitored.is_closed()):  # noqa: ASYNC110 - of two loops
            await asyncio.sleep(_CHECK_EVERY)
        if self._is_answered:
            self._report_end(jobs)

    def _report_end(self, jobs: Sequence[Job]) -> None:
        self._telemetry.emit(
            LoopUnblocked(
                worker_id=self._registration.id,
                worker_name=self._registration.name,
                jobs=jobs,
                seconds=self._answered_at - self._asked_at,
            )
        )
