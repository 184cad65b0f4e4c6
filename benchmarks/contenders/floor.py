"""The floor: raw psycopg on a table with one partial index, and no queue around it."""

import asyncio

import psycopg

from benchmarks.contenders import Contender

_CLAIM = """
UPDATE floor SET status = 1 WHERE id = ANY(ARRAY(
    SELECT id FROM floor WHERE status = 0 ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING id, args
"""
_INSERT = "INSERT INTO floor (args) VALUES ('{}')"
_NOTIFY = """
WITH new AS (INSERT INTO floor (args) VALUES ('{}') RETURNING id)
SELECT pg_notify('floor', '') FROM new
"""
_BATCH = 100
_CONNECTIONS = 10


class Floor(Contender):
    """Insert, on ten connections if many clients do it at once; claim a hundred, finish a hundred;
    wait for a notification if there is nothing."""

    async def install(self) -> None:
        async with await self._connect() as connection:
            await connection.execute(
                "CREATE TABLE floor (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
                " status smallint NOT NULL DEFAULT 0, args jsonb NOT NULL)"
            )
            await connection.execute("CREATE INDEX ON floor (id) WHERE status = 0")

    async def _connect(self) -> psycopg.AsyncConnection:
        return await psycopg.AsyncConnection.connect(self.url, autocommit=True)

    async def open(self) -> None:
        self._connections = [await self._connect() for _ in range(_CONNECTIONS)]

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def defer_one(self) -> None:
        await self._connections[0].execute(_INSERT)

    async def defer_heard(self) -> None:
        await self._connections[0].execute(_NOTIFY)

    async def defer_at_once(self, jobs: int) -> None:
        async def client(connection: psycopg.AsyncConnection) -> None:
            for _ in range(jobs // _CONNECTIONS):
                await connection.execute(_INSERT)

        await asyncio.gather(*map(client, self._connections))

    async def defer_many(self, jobs: int) -> None:
        async with (
            self._connections[0].cursor() as cursor,
            cursor.copy("COPY floor (args) FROM STDIN") as copy,
        ):
            for _ in range(jobs):
                await copy.write_row(("{}",))

    async def work(self, concurrency: int) -> None:
        async with await self._connect() as connection, await self._connect() as heard:
            await heard.execute("LISTEN floor")
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
                    async for _ in heard.notifies(stop_after=1):
                        pass
