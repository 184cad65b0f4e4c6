"""TaskProcess: one process of a task, as the worker sees it."""

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from taskq.context import AbortReason
from taskq.exceptions import JobAborted, TaskProcessDied
from taskq.job import Job
from taskq.messages import signal_name
from taskq.progress import NewProgress
from taskq.worker.process_pool import child
from taskq.worker.process_pool.crossing import unpack_error, unpack_result
from taskq.worker.process_pool.messages import (
    Abort,
    Begun,
    Call,
    Logged,
    Raised,
    Reported,
    Returned,
    Setup,
)

# How often it is asked whether it lives: what it has forked may keep its side of the channel open.
_ASK_EVERY = 0.5  # seconds

# For its exit code to be there, once its channel is closed; and for one that is idle to end.
_END_WITHIN = 5.0  # seconds

# How long a task may take that has been told to abort, and can see it.
ABORT_WITHIN = 2.0  # seconds


class DiedIdle(Exception):  # noqa: N818 - never told
    """It had died before it got a call."""


class ProcessCall:
    """One call of a task, which may be aborted from any thread.

    Args:
        job: The job.
        call: What the process is sent.
        is_stored: Whether the result is needed.
        report: Takes what the task reports of its progress.
        later: Calls something after some seconds, from any thread.
    """

    def __init__(
        self,
        job: Job,
        call: Call,
        *,
        is_stored: bool,
        report: Callable[[NewProgress], None],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.job = job
        self.call = call
        self.is_stored = is_stored
        self.report = report
        self._later = later
        self._lock = threading.Lock()
        self._process: TaskProcess | None = None
        self._wake: Callable[[], None] = lambda: None
        self.abort_reason: AbortReason | None = None

    def wait_in(self, wake: Callable[[], None]) -> None:
        """What to call if it is aborted while it waits for a process."""
        self._wake = wake

    def begin(self, process: "TaskProcess") -> None:
        """It is about to run in a process.

        Raises:
            JobAborted: It was aborted before.
        """
        with self._lock:
            self.check()
            self._process = process

    def end(self) -> None:
        """It has ended there, and the process may have another one."""
        with self._lock:
            self._process = None

    def check(self) -> None:
        """Go on, unless it was aborted.

        Raises:
            JobAborted: It was.
        """
        if self.abort_reason is not None:
            raise JobAborted(f"job {self.job.id} was aborted before its process had begun with it")

    def abort(self, reason: AbortReason) -> None:
        """End it: a task with a context can see it, and has two seconds; the process of another ends now."""
        with self._lock:
            self.abort_reason = self.abort_reason or reason
            if self._process is not None and self.call.context is not None:
                self._process.send(Abort(self.abort_reason))
                self._later(ABORT_WITHIN, self.kill)
                return
        self.kill()
        self._wake()

    def kill(self) -> None:
        """End the process, if it still runs this."""
        with self._lock:
            if self._process is not None:
                self._process.kill()


class TaskProcess:
    """A process that runs one call at a time.

    Args:
        name: What it is called in the log.
        setup: What it begins with.
    """

    def __init__(self, name: str, setup: Setup) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self._sending = threading.Lock()
        # Not a daemon, which could not have processes of its own; close ends it.
        self._process = spawn.Process(
            target=child.main, args=[theirs, setup], name=name, daemon=False
        )
        self._process.start()
        theirs.close()
        self._has_run = False

    @property
    def is_alive(self) -> bool:
        """Whether it can have another call."""
        return self._process.is_alive()

    @property
    def pid(self) -> int | None:
        """Its number in the system."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Say something; nothing if it has gone."""
        with self._sending, suppress(OSError, ValueError):
            self._connection.send(message)

    def run(self, call: ProcessCall) -> Any:
        """Run a call to its end, in the thread of the job; returns what the task returned.

        Raises:
            JobAborted: It was aborted, and the process has been ended for that.
            TaskProcessDied: The process died.
            DiedIdle: It had died before, which has nothing to do with this call.
            InvalidResult: The result cannot be passed.
            BaseException: Whatever the task raises.
        """
        call.begin(self)
        try:
            return self._run(call)
        finally:
            call.end()
            self._has_run = True

    def _run(self, call: ProcessCall) -> Any:
        has_begun = False
        self.send(call.call)
        while True:
            try:
                if not self._connection.poll(_ASK_EVERY):
                    if self._process.is_alive():
                        continue
                    raise EOFError
                message = self._connection.recv()
            except (EOFError, OSError):
                self._process.join(_END_WITHIN)
                if call.abort_reason is not None:
                    raise JobAborted(
                        f"job {call.job.id} was aborted, and its process was ended for that"
                    ) from None
                if self._has_run and not has_begun:
                    raise DiedIdle from None
                raise TaskProcessDied(
                    f"the process of job {call.job.id} ({call.job.task_name}) {self._how_it_died()}"
                ) from None
            match message:
                case Begun():
                    has_begun = True
                case Logged(record):
                    _log(record)
                case Reported(progress):
                    call.report(progress)
                case Returned():
                    return unpack_result(message, call.job, is_stored=call.is_stored)
                case Raised():
                    raise unpack_error(message)

    def kill(self) -> None:
        """End it, whatever it does."""
        with suppress(ValueError):  # it is closed
            self._process.kill()

    def end(self) -> None:
        """Have it end, which it does at once if it is idle."""
        with suppress(OSError):
            self._connection.close()

    def join(self) -> None:
        """Wait for its end, and end it if that takes too long."""
        self._process.join(_END_WITHIN)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join(_END_WITHIN)

    def _how_it_died(self) -> str:
        code = self._process.exitcode
        if code is None:
            return "closed its connection to the worker: a task must not close files that are not its own"
        if code >= 0:
            return (
                f"ended with exit code {code} while it ran: raise an exception in the task to have it fail, "
                "and find out what calls os._exit()"
            )
        name = signal_name(-code)
        if -code == signal.SIGKILL:
            return (
                f"was ended by {name}: as a rule by the kernel, which had no memory left; give it more, or "
                "the worker fewer such jobs at once (max_task_processes)"
            )
        return (
            f"was ended by {name}: a crash of the interpreter or of a library in C; faulthandler.enable() in "
            "the task's module shows where"
        )


def _log(record: dict[str, Any]) -> None:
    made = logging.makeLogRecord(record)
    logger = logging.getLogger(made.name)
    if logger.isEnabledFor(made.levelno):
        logger.handle(made)
