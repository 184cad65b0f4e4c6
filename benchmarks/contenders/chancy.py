"""Chancy, with its asyncio executor, or its threads for a sync job."""

import asyncio
from typing import Any

import chancy

from benchmarks.contenders import NAP, Contender

_current: "Chancy"


@chancy.job()
async def noop() -> None:
    _current.on_start()


@chancy.job()
def noop_sync() -> None:
    _current.on_start_in_thread()


@chancy.job()
async def nap() -> None:
    await asyncio.sleep(NAP)


class Chancy(Contender):
    """With eager polling: at the defaults it looks for jobs once a second."""

    async def install(self) -> None:
        async with chancy.Chancy(self.url) as installer:
            await installer.migrate()

    async def open(self) -> None:
        global _current  # noqa: PLW0603 - its jobs are found by import
        _current = self
        self._chancy = chancy.Chancy(self.url)
        await self._chancy.__aenter__()
        self._noop: Any = noop_sync if self.sync else noop

    async def close(self) -> None:
        await self._chancy.__aexit__(None, None, None)

    async def defer_one(self) -> None:
        await self._chancy.push(self._noop)

    async def defer_many(self, jobs: int) -> None:
        await self._push(self._noop, jobs)

    async def defer_naps(self, jobs: int) -> None:
        await self._push(nap, jobs)

    async def _push(self, function: Any, jobs: int) -> None:
        pushed: Any = self._chancy.push_many([function.job] * jobs)
        async for _ in pushed:
            pass

    async def work(self, concurrency: int) -> None:
        executors = chancy.Chancy.Executor
        await self._chancy.declare(
            chancy.Queue(
                "default",
                concurrency=concurrency,
                executor=executors.Threaded if self.sync else executors.Async,
                eager_polling=True,
            ),
            upsert=True,
        )
        async with chancy.Worker(self._chancy, register_signal_handlers=False) as worker:
            await worker.wait_for_shutdown()
