"""Procrastinate."""

import asyncio

import procrastinate

from benchmarks.contenders import NAP, Contender


class Procrastinate(Contender):
    """At the defaults, on its psycopg connector."""

    async def install(self) -> None:
        async with self._make_app().open_async() as app:
            await app.schema_manager.apply_schema_async()

    def _make_app(self) -> procrastinate.App:
        return procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=self.url))

    async def open(self) -> None:
        self._app = self._make_app()
        await self._app.open_async()

        @self._app.task(name="noop")
        async def noop() -> None:
            self.on_start()

        @self._app.task(name="noop_sync")
        def noop_sync() -> None:
            self.on_start_in_thread()

        @self._app.task(name="nap")
        async def nap() -> None:
            await asyncio.sleep(NAP)

        self._noop = noop_sync if self.sync else noop
        self._nap = nap

    async def close(self) -> None:
        await self._app.close_async()

    async def defer_one(self) -> None:
        await self._noop.defer_async()

    async def defer_many(self, jobs: int) -> None:
        await self._noop.batch_defer_async(*[{} for _ in range(jobs)])

    async def defer_locked(self, jobs: int, locks: int) -> None:
        # A batch has one lock.
        for lock in range(min(jobs, locks)):
            of_lock = len(range(lock, jobs, locks))
            await self._noop.configure(lock=f"lock {lock}").batch_defer_async(
                *[{} for _ in range(of_lock)]
            )

    async def defer_naps(self, jobs: int) -> None:
        await self._nap.batch_defer_async(*[{} for _ in range(jobs)])

    async def work(self, concurrency: int) -> None:
        await self._app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
