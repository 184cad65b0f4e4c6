"""Procrastinate."""

import procrastinate

from benchmarks.contenders import Contender


class Procrastinate(Contender):
    """An async task that does nothing, at the defaults."""

    async def prepare(self) -> None:
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.url))
        await self._app.open_async()
        await self._app.schema_manager.apply_schema_async()

        @self._app.task(name="noop")
        async def noop() -> None:
            self.on_start()

        self._noop = noop

    async def close(self) -> None:
        await self._app.close_async()

    async def defer_one(self) -> None:
        await self._noop.defer_async()

    async def defer_many(self, jobs: int) -> None:
        await self._noop.batch_defer_async(*[{} for _ in range(jobs)])

    async def work(self, concurrency: int) -> None:
        await self._app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
