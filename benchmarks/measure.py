"""One figure of one contender, in a process of its own: prints it as JSON.

python -m benchmarks.measure CONTENDER FIGURE URL
"""

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from resource import getpagesize
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.contenders import Contender

CONTENDERS = {
    "floor": "floor:Floor",
    "taskq": "taskq:Taskq",
    "pgqueuer": "pgqueuer:Pgqueuer",
    "chancy": "chancy:Chancy",
    "procrastinate": "procrastinate:Procrastinate",
}

# So many that a run takes a second or so, and what starting costs does not count.
DRAINED = {
    "floor": 60_000,
    "taskq": 40_000,
    "pgqueuer": 8_000,
    "chancy": 4_000,
    "procrastinate": 800,
}

IDLE = 30.0  # seconds

# Jobs of which the time to their start is taken, after those for which connections and plans are made.
_WARM, _TIMED = 10, 150

_MEMORY = Path("/proc/self/statm")

Figures = dict[str, float]
Measure = Callable[[Contender, str], Awaitable[Figures]]


async def drain(contender: Contender, name: str, concurrency: int) -> Figures:
    """Jobs per second from the start of the first to the start of the last."""
    jobs = DRAINED[name] // (4 if concurrency == 1 or contender.sync else 1)
    await contender.defer_many(jobs)
    async with contender.working(concurrency):
        await contender.started(jobs)
    sync = ", sync tasks" if contender.sync else ""
    return {f"drain, concurrency {concurrency}{sync}, jobs/s": _rate(contender.starts)}


async def drain_locks(contender: Contender, name: str, locks: int) -> Figures:
    """The same of jobs that have one of so many locks."""
    # Procrastinate's worker takes the next one of a lock when it polls.
    jobs = DRAINED[name] // (4 if name == "taskq" or locks > 1 else 80)
    await contender.defer_locked(jobs, locks)
    async with contender.working(100):
        await contender.started(jobs)
    shown = "one lock" if locks == 1 else f"{locks:,} locks"
    return {f"drain, {shown}, jobs/s": _rate(contender.starts)}


async def drain_limits(contender: Contender, name: str, keys: int) -> Figures:
    """The same of jobs that have a limit, of which one of each key may run at once."""
    jobs = DRAINED[name]
    await contender.defer_limited(jobs, keys)
    async with contender.working(100):
        await contender.started(jobs)
    return {f"drain, {keys:,} keys of a limit, jobs/s": _rate(contender.starts)}


def _rate(starts: list[float]) -> float:
    return (len(starts) - 1) / (max(starts) - min(starts))


async def defer_one(contender: Contender, name: str) -> Figures:
    """Jobs per second, deferred one after the other, each awaited."""
    for _ in range(10):
        await contender.defer_one()
    jobs = 300
    began = perf_counter()
    for _ in range(jobs):
        await contender.defer_one()
    return {"defer one, jobs/s": jobs / (perf_counter() - began)}


async def defer_at_once(contender: Contender, name: str) -> Figures:
    """Jobs per second, deferred one by one, a hundred at the same time."""
    await contender.defer_at_once(100)
    began = perf_counter()
    for _ in range(5):
        await contender.defer_at_once(100)
    return {"defer 100 at once, jobs/s": 500 / (perf_counter() - began)}


async def defer_batch(contender: Contender, name: str) -> Figures:
    """Jobs per second in batches of 3,000."""
    await contender.defer_many(100)
    began = perf_counter()
    for _ in range(3):
        await contender.defer_many(3000)
    return {"defer 3,000 in a batch, jobs/s": 9000 / (perf_counter() - began)}


async def defer_large_batch(contender: Contender, name: str) -> Figures:
    """Jobs per second in one batch of 100,000."""
    await contender.defer_many(100)
    began = perf_counter()
    await contender.defer_many(100_000)
    return {"defer 100,000 in a batch, jobs/s": 100_000 / (perf_counter() - began)}


async def latency(contender: Contender, name: str) -> Figures:
    """Milliseconds from the call of defer to the start, on an idle worker."""
    async with contender.working(10):
        return {f"defer to start, {name} ms": value for name, value in await _latency(contender)}


async def latency_busy(contender: Contender, name: str) -> Figures:
    """The same on a worker that naps meanwhile: 200 jobs per second, of 20 ms each."""

    async def produce() -> None:
        while True:
            await contender.defer_naps(4)
            await asyncio.sleep(0.02)

    async with contender.working(10):
        producer = asyncio.create_task(produce())
        try:
            found = await _latency(contender)
        finally:
            producer.cancel()
            await asyncio.wait([producer])
        return {f"defer to start, busy worker, {name} ms": value for name, value in found}


async def one_by_one(contender: Contender) -> AsyncIterator[tuple[float, float]]:
    """The moments of a call of defer and of the job's start, for one job after the other."""
    for number in range(1, _WARM + _TIMED + 1):
        await asyncio.sleep(0.02)
        began = perf_counter()
        await contender.defer_heard()
        await contender.started(number)
        if number > _WARM:
            yield began, contender.starts[-1]


async def _latency(contender: Contender) -> Sequence[tuple[str, float]]:
    seconds = [started - began async for began, started in one_by_one(contender)]
    cuts = quantiles(seconds, n=100)
    return [
        ("p50", median(seconds) * 1000),
        ("p95", cuts[94] * 1000),
        ("p99", cuts[98] * 1000),
    ]


async def costs(contender: Contender, name: str) -> Figures:
    """What a job costs the server in its life: deferred in batches, drained with concurrency 100."""
    jobs = DRAINED[name] // 4
    before = await _counters(contender.url)
    async with contender.opened():
        await contender.defer_many(jobs)
        async with contender.working(100):
            await contender.started(jobs)
            await asyncio.sleep(0.5)  # what is written last
    after = await _counters(contender.url)
    wal, transactions, dead = (
        (end - start) / jobs for start, end in zip(before, after, strict=True)
    )
    return {
        "WAL per job, bytes": wal,
        "transactions per job": transactions,
        "dead tuples per job": dead,
    }


_OTHERS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


async def _counters(url: str) -> list[float]:
    """WAL, transactions, and row versions that were made obsolete, so far."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        # Only when a session ends has it surely told what it did.
        while await _only(connection, _OTHERS):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.05)
        return [
            await _only(connection, query)
            for query in (
                "SELECT pg_current_wal_insert_lsn() - '0/0'",
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
                "SELECT sum(n_tup_upd + n_tup_del) FROM pg_stat_user_tables",
            )
        ]


async def idle(contender: Contender, name: str) -> Figures:
    """What a worker asks the database when there is nothing to do, and its memory then."""
    queries = (
        "SELECT sum(calls) FROM pg_stat_statements AS called"
        " JOIN pg_database ON oid = called.dbid WHERE datname = current_database()"
    )
    jobs = min(2000, DRAINED[name])
    async with (
        await psycopg.AsyncConnection.connect(contender.url, autocommit=True) as observer,
        contender.working(10),
    ):
        await observer.execute("CREATE EXTENSION pg_stat_statements")
        await contender.defer_many(jobs)
        await contender.started(jobs)
        await asyncio.sleep(5)
        before = await _only(observer, queries)
        await asyncio.sleep(IDLE)
        asked = await _only(observer, queries) - before - 1  # the observer's own
        pages = int(_MEMORY.read_text().split()[1])  # noqa: ASYNC240 - not on any disk
    return {
        "queries per minute of an idle worker": asked * 60 / IDLE,
        "memory of the worker, MiB": pages * getpagesize() / 2**20,
    }


async def _only(connection: psycopg.AsyncConnection, query: str) -> float:
    row = await (await connection.execute(query.encode())).fetchone()
    assert row
    return float(row[0])


@dataclass(frozen=True)
class Figure:
    """How a figure, or a few at once, are measured.

    Attributes:
        part: The part of the benchmark.
        measure: How. It finds the contender connected, unless it counts what connections do.
        sync: Whether its task is a sync one.
        without: The contenders of which it says nothing.
        once: Whether one round tells all, and all contenders can be measured at the same time.
    """

    part: str
    measure: Measure
    sync: bool = False
    without: frozenset[str] = frozenset()
    once: bool = False


FIGURES = {
    "drain 100": Figure("drain", lambda contender, name: drain(contender, name, 100)),
    "drain 10": Figure("drain", lambda contender, name: drain(contender, name, 10)),
    "drain 1": Figure("drain", lambda contender, name: drain(contender, name, 1)),
    "drain sync": Figure(
        "drain",
        lambda contender, name: drain(contender, name, 10),
        sync=True,
        without=frozenset({"floor", "pgqueuer"}),
    ),
    **{
        f"drain {locks} locks": Figure(
            "locks",
            partial(drain_locks, locks=locks),
            without=frozenset({"floor", "pgqueuer", "chancy"}),
        )
        for locks in (1, 20, 1_000, 20_000)
    },
    "drain limits": Figure(
        "limits",
        partial(drain_limits, keys=1_000),
        without=frozenset({"floor", "pgqueuer", "chancy", "procrastinate"}),
    ),
    "defer one": Figure("defer", defer_one),
    "defer at once": Figure("defer", defer_at_once),
    "defer batch": Figure("defer", defer_batch),
    # Chancy would take the better part of a minute.
    "defer large batch": Figure("defer", defer_large_batch, without=frozenset({"chancy"})),
    "latency": Figure("latency", latency),
    "latency busy": Figure("latency", latency_busy, without=frozenset({"floor"})),
    "costs": Figure("costs", costs),
    "idle": Figure("costs", idle, without=frozenset({"floor"}), once=True),
}


async def main(name: str, figure: str, url: str) -> None:
    module, _, kind = CONTENDERS[name].partition(":")
    made: Any = getattr(import_module(f"benchmarks.contenders.{module}"), kind)
    measured = FIGURES[figure]
    contender: Contender = made(url, sync=measured.sync)
    await contender.install()
    if figure == "costs":
        print(json.dumps(await measured.measure(contender, name)))
        return
    async with contender.opened():
        print(json.dumps(await measured.measure(contender, name)))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(main(*sys.argv[1:]))
