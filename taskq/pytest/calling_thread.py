"""Runs a coroutine for sync code: its event loop in a thread beside, and sync functions in the calling one.

What sync tasks use may belong to a thread, as Django's connections and scoped sessions do, and a task may
begin an event loop of its own. So in a test the tasks run in its own thread, in which no event loop runs.
"""

import asyncio
import contextvars
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class CallingThread(Executor):
    """Runs functions in the thread that has made it, as long as that is in ``run``."""

    def __init__(self) -> None:
        # None: the coroutine has ended.
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._interrupted: KeyboardInterrupt | None = None

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have a function run in the calling thread."""
        future: Future[T] = Future()

        def call() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    self._interrupted = error
                future.set_exception(error)

        self._calls.put(call)
        return future

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in an event loop beside, and what it submits here, until it has ended.

        Raises:
            RuntimeError: An event loop runs in this thread already.
            KeyboardInterrupt: Ctrl-C came in a function, once the coroutine has ended.
        """
        if asyncio._get_running_loop() is not None:
            main.close()
            raise RuntimeError(
                "an event loop runs here, which this would block: await the async method, as in "
                "await jobs.drain_async()"
            )
        ended: Future[T] = Future()
        # The test's own context variables are those of its tasks.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=partial(context.run, self._run_beside, main, ended), name="taskq_jobs"
        )
        thread.start()
        try:
            while (call := self._calls.get()) is not None:
                call()
        finally:
            thread.join()
        if self._interrupted is not None:
            raise self._interrupted
        return ended.result()

    def _run_beside(self, main: Coroutine[Any, Any, T], ended: "Future[T]") -> None:
        try:
            with asyncio.Runner() as runner:
                _know_to_asgiref(runner.get_loop(), self)
                ended.set_result(runner.run(main))
        except BaseException as error:
            ended.set_exception(error)
        finally:
            self._calls.put(None)


def _know_to_asgiref(loop: asyncio.AbstractEventLoop, executor: Executor) -> None:
    # So that an async task's sync_to_async, of which Django's ORM is made, is in the test's thread and so on
    # its connection. asgiref does so itself in async_to_sync; its table knows loops as long as they live.
    if (asgiref := sys.modules.get("asgiref.sync")) is not None:
        asgiref.AsyncToSync.loop_thread_executors[loop] = executor
