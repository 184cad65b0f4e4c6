"""Django's connections around the attempts of a worker: as around requests."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

from asgiref.sync import ThreadSensitiveContext
from django.db import connections

from taskq.context import JobContext


class DjangoConnections:
    """The task middleware of one worker that closes connections which are too old or broken.

    Before and after each attempt, as Django does before and after each request; ``CONN_MAX_AGE`` and
    ``CONN_HEALTH_CHECKS`` mean what they mean there.
    """

    def __init__(self) -> None:
        self._idle: deque[_Thread] = deque()
        # Those of all its threads.
        self._used: WeakSet[Any] = WeakSet()

    def close_all(self) -> None:
        """Close what is kept for the next task, when there is none any more: from another thread."""
        for connection in list(self._used):
            connection.inc_thread_sharing()
            connection.close()
        while self._idle:
            self._idle.pop().shutdown(wait=False)

    def around_sync(
        self, call_next: Callable[[], Any], context: JobContext[Any, Any, Any], worker: Any
    ) -> Any:
        """Run a sync task, in whose thread its connections are."""
        self._close_old()
        try:
            return call_next()
        finally:
            self._close_old()

    async def around_async(
        self,
        call_next: Callable[[], Awaitable[Any]],
        context: JobContext[Any, Any, Any],
        worker: Any,
    ) -> Any:
        """Run an async task, whose queries Django runs in a thread: in one that no other attempt has."""
        thread = self._idle.pop() if self._idle else _Thread()
        try:
            async with ThreadSensitiveContext(executor=thread):
                returned = await call_next()
        except BaseException as error:
            closing = self._give_back(thread)
            # A query of one that was cancelled may go on in the thread.
            if closing is not None and not isinstance(error, asyncio.CancelledError):
                await asyncio.wrap_future(closing)
            raise
        if (closing := self._give_back(thread)) is not None:
            await asyncio.wrap_future(closing)
        return returned

    def _close_old(self) -> None:
        for connection in connections.all(initialized_only=True):
            # One in a transaction is that of a test which runs the job on it: Django would close it, too.
            if not connection.in_atomic_block:
                self._used.add(connection)
                connection.queries_log.clear()
                connection.close_if_unusable_or_obsolete()

    def _give_back(self, thread: "_Thread") -> "Future[None] | None":
        if not thread.was_used:
            self._idle.append(thread)
            return None
        closing = thread.submit(self._close_old)
        thread.was_used = False
        # When what it still does has ended.
        closing.add_done_callback(lambda _: self._idle.append(thread))
        return closing


class _Thread(ThreadPoolExecutor):
    """A thread for the queries of one attempt at a time; started when it is first needed."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="taskq-django")
        self.was_used = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Run a function in the thread."""
        self.was_used = True
        return super().submit(fn, *args, **kwargs)
