"""ProcessPool: keeps the processes of tasks, started when they are first needed."""

import asyncio
import atexit
import logging
import os
import sys
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from taskq.exceptions import InvalidOption
from taskq.import_path import path_of
from taskq.worker.app import WorkerApp
from taskq.worker.options import WorkerOptions

if TYPE_CHECKING:
    from taskq.worker.process_pool.process import ProcessCall, TaskProcess


class ProcessPool:
    """The processes of one worker.

    Args:
        app: What they import.
        options: Those of the worker.
    """

    def __init__(self, app: WorkerApp, options: WorkerOptions) -> None:
        self._app = app
        self._name = options.name
        self._most = options.max_task_processes or min(available_cores(), options.concurrency)
        self._changed = threading.Condition()
        self._idle: list[TaskProcess] = []
        self._busy: set[TaskProcess] = set()
        self._starting = 0
        self._numbers = count(1)
        self._closed = threading.Event()
        self._app_path = ""

    @property
    def pids(self) -> list[int | None]:
        """The processes that there are, by their numbers in the system."""
        with self._changed:
            return [process.pid for process in (*self._idle, *self._busy)]

    def check(self) -> None:
        """Refuse to begin with an app that no other process can import, if a task asks for one.

        Raises:
            InvalidOption: It is such an app.
        """
        names = [task.name for task in self._app.tasks.values() if task.executor == "process"]
        if not names:
            return
        path = path_of(self._app)
        if path is None:
            raise InvalidOption(
                f"task {names[0]!r} is declared with executor='process', and its process could not import "
                "the app: assign the app to a variable at the top of a module, as in app = App()"
            )
        self._app_path = path

    def run(self, call: "ProcessCall") -> Any:
        """Run a call in a process, once one is free; in the thread of its job.

        Raises:
            JobAborted: It was aborted.
            TaskProcessDied: The process died.
            BaseException: Whatever the task raises.
        """
        # Not imported by workers without such a task.
        from taskq.worker.process_pool.process import DiedIdle  # noqa: PLC0415

        while True:
            process = self._take(call)
            try:
                return process.run(call)
            except DiedIdle:
                continue
            finally:
                self._give_back(process)

    def close(self) -> None:
        """End all processes: those that are idle by themselves."""
        atexit.unregister(self.close)
        with self._changed:
            self._closed.set()
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            self._changed.notify_all()
        for process in busy:
            process.kill()
        for process in idle:
            process.end()
        for process in (*idle, *busy):
            process.join()

    async def close_async(self) -> None:
        """The same where an event loop runs: in a thread, as it waits for them.

        Not in one of the loop's: tasks may have all of these.
        """
        closed = asyncio.Event()
        loop = asyncio.get_running_loop()

        def close() -> None:
            self.close()
            loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, name="taskq ProcessPool", daemon=True).start()
        await closed.wait()

    def _take(self, call: "ProcessCall") -> "TaskProcess":
        call.wait_in(self._wake)
        with self._changed:
            while True:
                call.check()
                if self._closed.is_set():
                    raise RuntimeError("the worker has ended")
                if (free := self._pop_idle()) is not None:
                    return free
                if len(self._busy) + self._starting < self._most:
                    self._starting += 1
                    break
                self._changed.wait()
        try:
            process = self._started()
        except BaseException:
            with self._changed:
                self._starting -= 1
                self._changed.notify()
            raise
        with self._changed:
            self._starting -= 1
            self._busy.add(process)
        if self._closed.is_set():  # meanwhile
            process.kill()
        return process

    def _pop_idle(self) -> "TaskProcess | None":
        while self._idle:
            process = self._idle.pop()
            if process.is_alive:
                self._busy.add(process)
                return process
        return None

    def _give_back(self, process: "TaskProcess") -> None:
        with self._changed:
            self._busy.discard(process)
            if process.is_alive and not self._closed.is_set():
                self._idle.append(process)
            self._changed.notify()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _started(self) -> "TaskProcess":
        from taskq.worker.process_pool.messages import Setup  # noqa: PLC0415
        from taskq.worker.process_pool.process import TaskProcess  # noqa: PLC0415

        number = next(self._numbers)
        if number == 1:
            # Before multiprocessing's own, which waits for processes that do not know that they are to end.
            atexit.register(self.close)
        return TaskProcess(
            f"{self._name}/{number}", Setup(app_path=self._app_path, levels=_levels())
        )


def _levels() -> dict[str, int]:
    root = logging.getLogger()
    named = {name: logging.getLogger(name).level for name in root.manager.loggerDict}
    return {"": root.level, **{name: level for name, level in named.items() if level}}


def available_cores() -> int:
    """Those that this process may run on, of which a container may have fewer than the machine."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
