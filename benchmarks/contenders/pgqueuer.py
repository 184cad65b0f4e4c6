"""PgQueuer, on asyncpg, its fastest driver."""

from datetime import timedelta

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer, Queries

from benchmarks.contenders import Contender


class Pgqueuer(Contender):
    """An async entrypoint that does nothing; a batch of at least ten, its default."""

    async def prepare(self) -> None:
        self._connection = await asyncpg.connect(self.url)
        self._queries = Queries(AsyncpgDriver(self._connection))
        await self._queries.install()

    async def close(self) -> None:
        await self._connection.close()

    async def defer_one(self) -> None:
        await self._queries.enqueue("noop", None)

    async def defer_many(self, jobs: int) -> None:
        await self._queries.enqueue(["noop"] * jobs, [None] * jobs, [0] * jobs)

    async def work(self, concurrency: int) -> None:
        connection = await asyncpg.connect(self.url)
        queue = PgQueuer(AsyncpgDriver(connection))

        @queue.entrypoint("noop")
        async def noop(job: Job) -> None:
            self.on_start()

        try:
            await queue.run(
                batch_size=max(10, concurrency),
                max_concurrent_tasks=2 * max(10, concurrency),
                dequeue_timeout=timedelta(seconds=5),
            )
        finally:
            await connection.close()
