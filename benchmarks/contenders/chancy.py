"""Chancy, with its asyncio executor."""

from typing import Any

import chancy

from benchmarks.contenders import Contender

_current: "Chancy"


@chancy.job()
async def noop() -> None:
    _current.on_start()


class Chancy(Contender):
    """An async job that does nothing."""

    async def prepare(self) -> None:
        global _current  # noqa: PLW0603 - its jobs are found by import
        _current = self
        self._chancy = chancy.Chancy(self.url)
        await self._chancy.__aenter__()
        await self._chancy.migrate()

    async def close(self) -> None:
        await self._chancy.__aexit__(None, None, None)

    async def defer_one(self) -> None:
        await self._chancy.push(noop)

    async def defer_many(self, jobs: int) -> None:
        pushed: Any = self._chancy.push_many([noop.job] * jobs)
        async for _ in pushed:
            pass

    async def work(self, concurrency: int) -> None:
        await self._chancy.declare(
            chancy.Queue(
                "default",
                concurrency=concurrency,
                executor="chancy.executors.asyncex.AsyncExecutor",
                eager_polling=True,
            ),
            upsert=True,
        )
        async with chancy.Worker(self._chancy, register_signal_handlers=False) as worker:
            await worker.wait_for_shutdown()
