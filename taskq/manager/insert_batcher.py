"""InsertBatcher: jobs that are deferred one by one at the same time share a statement."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import psycopg
from sqlalchemy.exc import DBAPIError

from taskq.job import NewJob

Ids = list[int | None]

# How many jobs a statement takes that several calls share. A call waits for the one statement that is
# under way when it comes, and for those that fit no more into the next one.
LARGEST = 500


class _Call(NamedTuple):
    jobs: Sequence[NewJob]
    ids: "asyncio.Future[Ids]"


class InsertBatcher:
    """Sends the calls of one event loop, as the worker writes the ends of its jobs.

    A call that comes alone goes out at once, and none waits for others to come: those that come while a
    statement is under way go out together in the next one. Each call is all or none as if it were alone,
    and the order of ids is the order in which the calls came.

    Args:
        send: Defers jobs, all or none, in one statement, and returns their ids.
    """

    def __init__(self, send: Callable[[Sequence[NewJob]], Awaitable[Ids]]) -> None:
        self._send = send
        self._waiting: deque[_Call] = deque()
        self._busy = False
        self._sharing: asyncio.Task[None] | None = None

    async def defer(self, jobs: Sequence[NewJob]) -> Ids:
        """Defer jobs, all or none; returns their ids in the same order.

        Raises:
            Exception: What ``send`` raises for these jobs, whatever becomes of those of other calls.
        """
        if self._busy:
            call = _Call(jobs, asyncio.get_running_loop().create_future())
            self._waiting.append(call)
            return await call.ids
        self._busy = True
        try:
            return await self._send(jobs)
        finally:
            self._go_on()

    def _go_on(self) -> None:
        calls = list(self._next())
        self._busy = bool(calls)
        if calls:
            self._sharing = asyncio.create_task(self._share(calls))

    def _next(self) -> Iterator[_Call]:
        jobs = 0
        while self._waiting:
            call = self._waiting[0]
            if jobs and jobs + len(call.jobs) > LARGEST:
                return
            self._waiting.popleft()
            # Its caller may have been cancelled meanwhile.
            if not call.ids.done():
                jobs += len(call.jobs)
                yield call

    async def _share(self, calls: Sequence[_Call]) -> None:
        try:
            await self._send_together(calls)
        finally:
            for call in calls:
                call.ids.cancel()  # those without an answer: the event loop ends
            self._go_on()

    async def _send_together(self, calls: Sequence[_Call]) -> None:
        try:
            ids = iter(await self._send([job for call in calls for job in call.jobs]))
        except Exception as error:
            if len(calls) > 1 and _changed_nothing(error):
                for call in calls:
                    await self._send_together([call])
                return
            for call in calls:
                if not call.ids.done():
                    call.ids.set_exception(error)
        else:
            for call in calls:
                answer = list(islice(ids, len(call.jobs)))
                if not call.ids.done():
                    call.ids.set_result(answer)


def _changed_nothing(error: Exception) -> bool:
    """Whether it is sure that a statement failed as a whole, so that its jobs can be sent again.

    Not when the connection was lost: it may have been written, and only the answer was lost.
    """
    cause = error if isinstance(error, DBAPIError | psycopg.Error) else error.__cause__
    if isinstance(cause, DBAPIError):
        cause = cause.orig
    if not isinstance(cause, psycopg.Error):
        return True  # it could not even be sent
    # Codes of class 08, and 57P0x when a server goes, come with a connection's end.
    return cause.sqlstate is not None and not cause.sqlstate.startswith(("08", "57P"))
