"""Threads for sync tasks, which do not keep a process from ending.

The standard library's pool makes the interpreter wait for each of its threads, and a sync task that does
not end cannot be ended: a worker that is asked twice to stop would not leave.
"""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Work = tuple[Future[Any], Callable[[], Any]]


class DaemonThreadPool(Executor):
    """Runs functions in threads, which are begun when they are first needed.

    Args:
        most: How many threads at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._begun = 0
        self._idle = Semaphore(0)
        # None ends a thread.
        self._work: SimpleQueue[_Work | None] = SimpleQueue()

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have a function run; only from the thread that made this."""
        future: Future[T] = Future()
        self._work.put((future, partial(function, *args, **kwargs)))
        if not self._idle.acquire(blocking=False) and self._begun < self._most:
            self._begun += 1
            Thread(target=self._run, name=f"taskq_{self._begun}", daemon=True).start()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:
        """End each thread, once it has nothing to do; waits for none."""
        for _ in range(self._begun):
            self._work.put(None)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            _carry_out(*work)
            # Or else what it returned would live until the next one.
            del work
            self._idle.release()


def _carry_out(future: "Future[Any]", call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
