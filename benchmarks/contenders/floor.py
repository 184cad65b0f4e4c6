"""The floor: raw psycopg on a table with one partial index, and no queue around it."""

import asyncio

import psycopg

from benchmarks.contenders import Contender

_CLAIM = """
UPDATE floor SET status = 1 WHERE id = ANY(ARRAY(
    SELECT id FROM floor WHERE status = 0 ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING id, args
"""
_BATCH = 100


class Floor(Contender):
    """Insert, claim a hundred, finish a hundred."""

    async def prepare(self) -> None:
        self._connection = await psycopg.AsyncConnection.connect(self.url, autocommit=True)
        await self._connection.execute(
            "CREATE TABLE floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " status smallint NOT NULL DEFAULT 0, args jsonb NOT NULL)"
        )
        await self._connection.execute("CREATE INDEX ON floor (id) WHERE status = 0")

    async def close(self) -> None:
        await self._connection.close()

    async def defer_one(self) -> None:
        await self._connection.execute("INSERT INTO floor (args) VALUES ('{}')")

    async def defer_many(self, jobs: int) -> None:
        async with (
            self._connection.cursor() as cursor,
            cursor.copy("COPY floor (args) FROM STDIN") as copy,
        ):
            for _ in range(jobs):
                await copy.write_row(("{}",))

    async def work(self, concurrency: int) -> None:
        async with await psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
            while True:
                cursor = await connection.execute(_CLAIM, [_BATCH])
                ids = [row[0] for row in await cursor.fetchall()]
                for _ in ids:
                    self.on_start()
                if ids:
                    await connection.execute(
                        "UPDATE floor SET status = 2 WHERE id = ANY(%s)", [ids]
                    )
                else:
                    await asyncio.sleep(0.001)
