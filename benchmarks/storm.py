"""Twenty clients that defer one job at a time: what the notifications cost.

Every transaction notifies; one notifies for all that run at once, which is what taskq does unless it is
in a caller's transaction; none does.
"""

import asyncio
from statistics import median
from time import perf_counter

import psycopg

from benchmarks.figures import STORM, Medians
from benchmarks.server import fresh_database
from taskq import App

CLIENTS = 20
JOBS = 100
ROUNDS = 5

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


async def _client(url: str, share: bool) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(JOBS):
            await connection.execute(_DEFER, [share])


async def _storm(url: str, share: bool) -> float:
    """Jobs per second."""
    began = perf_counter()
    await asyncio.gather(*(_client(url, share) for _ in range(CLIENTS)))
    return CLIENTS * JOBS / (perf_counter() - began)


async def _measure(url: str) -> dict[str, float]:
    seen: dict[str, list[float]] = {"each notifies": [], "one for all": [], "none": []}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as listener:
        await listener.execute("SELECT taskq_listen()")
        for _ in range(ROUNDS):
            seen["each notifies"].append(await _storm(url, False))
            seen["one for all"].append(await _storm(url, True))
            await listener.execute(_SILENCE[0])
            seen["none"].append(await _storm(url, True))
            await listener.execute(_SILENCE[1])
    return {name: median(rates) for name, rates in seen.items()}
