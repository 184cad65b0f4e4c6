"""PgQueuer, on asyncpg, its fastest driver."""

import asyncio
from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

from benchmarks.contenders import NAP, Contender


class Pgqueuer(Contender):
    """A batch of at least ten, its default; it has no sync tasks."""

    async def install(self) -> None:
        connection = await asyncpg.connect(self.url)
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    async def open(self) -> None:
        self._connection = await asyncpg.connect(self.url)
        self._queries = Queries(AsyncpgDriver(self._connection))

    async def close(self) -> None:
        await self._connection.close()

    async def defer_one(self) -> None:
        await self._queries.enqueue("noop", None)

    async def defer_many(self, jobs: int) -> None:
        await self._queries.enqueue(["noop"] * jobs, [None] * jobs, [0] * jobs)

    async def defer_naps(self, jobs: int) -> None:
        await self._queries.enqueue(["nap"] * jobs, [None] * jobs, [0] * jobs)

    async def work(self, concurrency: int) -> None:
        connection = await asyncpg.connect(self.url)
        queue = PgQueuer(AsyncpgDriver(connection))

        @queue.entrypoint("noop")
        async def noop(job: Job) -> None:
            self.on_start()

        @queue.entrypoint("nap")
        async def nap(job: Job) -> None:
            await asyncio.sleep(NAP)

        try:
            await queue.run(
                batch_size=max(10, concurrency),
                max_concurrent_tasks=2 * max(10, concurrency),
                dequeue_timeout=timedelta(seconds=5),
            )
        finally:
            await connection.close()
