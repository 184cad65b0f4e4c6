"""One figure of one contender, in a process of its own: prints it as JSON.

python -m benchmarks.measure CONTENDER FIGURE URL
"""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.contenders import Contender

CONTENDERS = {
    "floor": "floor:Floor",
    "taskq": "taskq:Taskq",
    "taskq, sync task": "taskq:TaskqSync",
    "pgqueuer": "pgqueuer:Pgqueuer",
    "chancy": "chancy:Chancy",
    "procrastinate": "procrastinate:Procrastinate",
}

# So many that a run takes a second or so, and what starting costs does not count.
DRAINED = {
    "floor": 60_000,
    "taskq": 40_000,
    "taskq, sync task": 10_000,
    "pgqueuer": 8_000,
    "chancy": 5_000,
    "procrastinate": 800,
}

Figures = dict[str, float]
Measure = Callable[[Contender, str], Awaitable[Figures]]


async def drain(contender: Contender, name: str, concurrency: int) -> Figures:
    """Jobs per second from the start of the first to the start of the last."""
    jobs = DRAINED[name] // (4 if concurrency == 1 else 1)
    await contender.defer_many(jobs)
    async with contender.working(concurrency):
        await contender.started(jobs)
    return {f"drain, concurrency {concurrency}, jobs/s": _rate(contender.starts)}


def _rate(starts: list[float]) -> float:
    return (len(starts) - 1) / (starts[-1] - starts[0])


async def defer_one(contender: Contender, name: str) -> Figures:
    """Jobs per second, deferred one after the other, each awaited."""
    await contender.defer_one()
    jobs = 300
    began = perf_counter()
    for _ in range(jobs):
        await contender.defer_one()
    return {"defer one, jobs/s": jobs / (perf_counter() - began)}


async def defer_batch(contender: Contender, name: str) -> Figures:
    """Jobs per second in batches of 3,000."""
    await contender.defer_many(100)
    began = perf_counter()
    for _ in range(3):
        await contender.defer_many(3000)
    return {"defer 3,000 in a batch, jobs/s": 9000 / (perf_counter() - began)}


async def latency(contender: Contender, name: str) -> Figures:
    """Milliseconds from the call of defer to the start, on an idle worker."""
    seconds: list[float] = []
    async with contender.working(10):
        await contender.defer_one()
        await contender.started(1)
        for number in range(2, 152):
            await asyncio.sleep(0.02)
            began = perf_counter()
            await contender.defer_one()
            await contender.started(number)
            seconds.append(contender.starts[-1] - began)
    cuts = quantiles(seconds, n=100)
    return {
        "defer to start, p50 ms": median(seconds) * 1000,
        "defer to start, p95 ms": cuts[94] * 1000,
        "defer to start, p99 ms": cuts[98] * 1000,
    }


async def costs(contender: Contender, name: str) -> Figures:
    """What a job costs the server in its life: deferred in batches, drained with concurrency 100."""
    jobs = DRAINED[name] // 4
    connection = await psycopg.AsyncConnection.connect(contender.url, autocommit=True)
    async with connection:
        before = await _counters(connection)
        await contender.defer_many(jobs)
        async with contender.working(100):
            await contender.started(jobs)
            await asyncio.sleep(0.5)  # what is written last, and counted late
        after = await _counters(connection)
    return {
        "WAL per job, bytes": (after[0] - before[0]) / jobs,
        "transactions per job": (after[1] - before[1]) / jobs,
    }


async def _counters(connection: psycopg.AsyncConnection) -> tuple[float, float]:
    cursor = await connection.execute(
        "SELECT pg_current_wal_insert_lsn() - '0/0', xact_commit"
        " FROM pg_stat_database WHERE datname = current_database()"
    )
    row = await cursor.fetchone()
    assert row
    return float(row[0]), float(row[1])


FIGURES: dict[str, Measure] = {
    "drain 100": lambda contender, name: drain(contender, name, 100),
    "drain 10": lambda contender, name: drain(contender, name, 10),
    "drain 1": lambda contender, name: drain(contender, name, 1),
    "defer one": defer_one,
    "defer batch": defer_batch,
    "latency": latency,
    "costs": costs,
}


async def main(name: str, figure: str, url: str) -> None:
    module, _, kind = CONTENDERS[name].partition(":")
    made: Any = getattr(import_module(f"benchmarks.contenders.{module}"), kind)
    contender: Contender = made(url)
    await contender.prepare()
    try:
        print(json.dumps(await FIGURES[figure](contender, name)))
    finally:
        await contender.close()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
