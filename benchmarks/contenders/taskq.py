"""taskq itself."""

import asyncio
from typing import Any

from benchmarks.contenders import Contender
from taskq import App, Task


class Taskq(Contender):
    """An async task that does nothing, at the defaults."""

    async def prepare(self) -> None:
        self._app = App(self.url)
        await self._app.schema_manager.apply_schema_async()

        @self._app.task(name="noop")
        async def noop() -> None:
            self.on_start()

        self._noop: Task[[], Any] = noop

    async def close(self) -> None:
        await self._app.close_async()

    async def defer_one(self) -> None:
        await self._noop.defer_async()

    async def defer_many(self, jobs: int) -> None:
        await self._noop.batch_defer_async(*[{}] * jobs)

    async def work(self, concurrency: int) -> None:
        await self._app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)


class TaskqSync(Taskq):
    """The same with a sync task, which runs in threads."""

    async def prepare(self) -> None:
        await super().prepare()
        loop = asyncio.get_running_loop()

        @self._app.task(name="noop_sync")
        def noop_sync() -> None:
            loop.call_soon_threadsafe(self.on_start)

        self._noop = noop_sync
