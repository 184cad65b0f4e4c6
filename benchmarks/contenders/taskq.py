"""taskq itself."""

import asyncio
from typing import Any

from benchmarks.contenders import NAP, Contender
from taskq import App, Limit, Task


class Taskq(Contender):
    """At the defaults."""

    async def install(self) -> None:
        async with App(self.url) as app:
            await app.schema_manager.apply_schema_async()

    async def open(self) -> None:
        self._app = App(self.url)

        @self._app.task(name="noop")
        async def noop() -> None:
            self.on_start()

        @self._app.task(name="noop_sync")
        def noop_sync() -> None:
            self.on_start_in_thread()

        @self._app.task(name="nap")
        async def nap() -> None:
            await asyncio.sleep(NAP)

        self._noop: Task[[], Any] = noop_sync if self.sync else noop
        self._nap = nap

    async def close(self) -> None:
        await self._app.close_async()

    async def defer_one(self) -> None:
        await self._noop.defer_async()

    async def defer_many(self, jobs: int) -> None:
        await self._noop.batch_defer_async(*[{}] * jobs)

    async def defer_locked(self, jobs: int, locks: int) -> None:
        await self._app.job_manager.defer_jobs_async(
            [self._noop.configure(lock=f"lock {n % locks}").prepare() for n in range(jobs)]
        )

    async def defer_limited(self, jobs: int, keys: int) -> None:
        limited = self._noop.configure(limit=Limit("one", concurrency=1))
        self._app.limits.add(Limit("one", concurrency=1))
        await self._app.job_manager.defer_jobs_async(
            [limited.configure(limit_key=str(n % keys)).prepare() for n in range(jobs)]
        )

    async def defer_naps(self, jobs: int) -> None:
        await self._nap.batch_defer_async(*[{}] * jobs)

    async def work(self, concurrency: int) -> None:
        await self._app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
