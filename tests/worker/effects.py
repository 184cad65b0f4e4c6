"""Tasks with transactions, and what they leave behind in a table of the test."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.util import await_only, greenlet_spawn

from taskq import App, JobContext, Task

Effects = Callable[[], list[str]]

_LEAVE = text("INSERT INTO effects VALUES (:name)")


def leave(connection: Connection, name: str) -> None:
    """Leave an effect in the test's table."""
    connection.execute(_LEAVE, {"name": name})


async def leave_async(connection: AsyncConnection, name: str) -> None:
    """Leave an effect in the test's table."""
    await connection.execute(_LEAVE, {"name": name})


Work = Callable[[JobContext, Connection], Any]


class Tasks:
    """Tasks that work in a transaction, all sync or all async; what they do is written once, as for sync."""

    def __init__(self, app: App, is_async: bool) -> None:
        self._app = app
        self.is_async = is_async

    def of(self, kind: str, work: Work, **options: Any) -> Task[..., Any]:
        """A task whose transaction is a block, or the whole attempt."""
        return {"block": self.block, "whole": self.whole}[kind](work, **options)

    def block(
        self,
        work: Work,
        *,
        before: Callable[[JobContext], Any] = lambda context: None,
        afterwards: Callable[[JobContext], Any] = lambda context: None,
        caught: Callable[[BaseException], bool] = lambda error: False,
        **options: Any,
    ) -> Task[..., Any]:
        """A task with a block; ``caught`` says whether it goes on after an error that comes out of that."""

        def sync_task(context: JobContext) -> None:
            before(context)
            try:
                with context.transaction() as connection:
                    work(context, connection)
            except BaseException as error:
                if not caught(error):
                    raise
            afterwards(context)

        async def async_task(context: JobContext) -> None:
            before(context)
            try:
                async with context.transaction() as connection:
                    await connection.run_sync(partial(work, context))
            except BaseException as error:
                if not caught(error):
                    raise
            await greenlet_spawn(afterwards, context)

        return self._declare(async_task if self.is_async else sync_task, options)

    def whole(self, work: Work, **options: Any) -> Task[..., Any]:
        """A task whose whole attempt is in its transaction."""

        def sync_task(context: JobContext) -> Any:
            return work(context, context.connection)

        async def async_task(context: JobContext) -> Any:
            return await context.connection.run_sync(partial(work, context))

        return self._declare(
            async_task if self.is_async else sync_task, {"transaction": True, **options}
        )

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait in a task until a condition holds."""
        deadline = time.monotonic() + 15
        while not condition():
            assert time.monotonic() < deadline
            if self.is_async:
                await_only(asyncio.sleep(0.005))
            else:
                time.sleep(0.005)

    def _declare(self, function: Callable[..., Any], options: dict[str, Any]) -> Task[..., Any]:
        named: dict[str, Any] = {"name": "work", **options}
        task: Task[..., Any] = self._app.task(pass_context=True, **named)(function)
        return task
