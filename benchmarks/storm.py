"""Twenty clients that defer one job at a time: what the notifications cost.

Every transaction notifies; one notifies for all that run at once, which is what taskq does unless it is
in a caller's transaction; none does.
"""

import asyncio
from contextlib import AsyncExitStack
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.figures import STORM, Medians
from benchmarks.server import fresh_database
from taskq import App

CLIENTS = 20
JOBS = 100
ROUNDS = 11

_DEFER = "SELECT taskq_defer_jobs('[{\"task_name\": \"noop\"}]', 'raise', %s)"
# As if somebody else notified for all of them, all the time.
_SILENCE = (
    "SELECT pg_advisory_lock(hashtextextended(taskq_channel() || ' default', 0))",
    "SELECT pg_advisory_unlock(hashtextextended(taskq_channel() || ' default', 0))",
)


def storm(server: str) -> Medians:
    """Jobs per second, medians over the rounds, interleaved, with one session that listens."""
    with fresh_database(server, "benchmark_storm") as url:
        with App(url) as app:
            app.schema_manager.apply_schema()
        return {STORM: asyncio.run(_measure(url))}


async def _client(connection: psycopg.AsyncConnection, share: bool) -> None:
    for _ in range(JOBS):
        await connection.execute(_DEFER, [share])


async def _storm(clients: list[psycopg.AsyncConnection], share: bool) -> float:
    """Jobs per second."""
    began = perf_counter()
    await asyncio.gather(*(_client(connection, share) for connection in clients))
    return CLIENTS * JOBS / (perf_counter() - began)


async def _measure(url: str) -> dict[str, float]:
    seen: dict[str, list[float]] = {"each notifies": [], "one for all": [], "none": []}
    async with AsyncExitStack() as stack:

        async def connect() -> psycopg.AsyncConnection:
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
            return await stack.enter_async_context(connection)

        listener, *clients = [await connect() for _ in range(1 + CLIENTS)]
        await listener.execute("SELECT taskq_listen()")
        await _storm(clients, True)  # the first statements of a session are slower
        for _ in range(ROUNDS):
            seen["each notifies"].append(await _storm(clients, False))
            seen["one for all"].append(await _storm(clients, True))
            await listener.execute(_SILENCE[0])
            seen["none"].append(await _storm(clients, True))
            await listener.execute(_SILENCE[1])
    return {name: median(rates) for name, rates in seen.items()}
