"""Where the time goes from the call of defer to the start of the job, on an idle worker.

    python -m benchmarks.timeline [URL]

on the server that URL names, as a user who may create databases, or on one of its own; for the floor and
taskq, at the default durability, and with ``synchronous_commit`` off, which tells what the disk takes.
"""

import asyncio
import logging
import sys
from collections import defaultdict
from contextlib import ExitStack
from itertools import pairwise
from statistics import median
from time import perf_counter
from typing import Any

import psycopg

from benchmarks.contenders import Contender
from benchmarks.contenders.floor import Floor
from benchmarks.contenders.taskq import Taskq
from benchmarks.measure import one_by_one
from benchmarks.server import fresh_database, own_server
from benchmarks.tables import table

ROUNDS = 3

# What happens between one mark and the next.
PHASES = (
    "the client, until the job is sent",
    "the server, until the job is in",
    "the worker, until it has heard and sends its claim",
    "the server, until the job is claimed",
    "the worker, until the job starts",
)

# The moments at which a statement is sent, and answered.
_marks: list[float] = []


def _mark_statements() -> None:
    execute = psycopg.AsyncCursor.execute

    async def marked(self: psycopg.AsyncCursor[Any], *args: Any, **kwargs: Any) -> Any:
        _marks.append(perf_counter())
        try:
            return await execute(self, *args, **kwargs)
        finally:
            _marks.append(perf_counter())

    psycopg.AsyncCursor.execute = marked  # type: ignore[method-assign]


async def timeline(kind: type[Contender], url: str) -> list[list[float]]:
    """Milliseconds of each phase, for each of the jobs."""
    found = []
    contender = kind(url)
    await contender.install()
    async with contender.opened(), contender.working(10):
        async for began, started in one_by_one(contender):
            between = [mark for mark in _marks if began < mark < started]
            _marks.clear()
            # A worker that polls or beats meanwhile adds statements of its own: then they are not told apart.
            if len(between) == 4:
                moments = [began, *between, started]
                found.append([(end - start) * 1000 for start, end in pairwise(moments)])
    return found


def main() -> None:
    logging.disable(logging.CRITICAL)
    _mark_statements()
    seen: dict[str, list[list[float]]] = defaultdict(list)
    with ExitStack() as stack:
        server = sys.argv[1] if len(sys.argv) > 1 else stack.enter_context(own_server())
        for _ in range(ROUNDS):
            for commit in ("on", "off"):
                for kind in (Floor, Taskq):
                    with fresh_database(server, "benchmark_timeline") as url:
                        with psycopg.connect(url, autocommit=True) as connection:
                            connection.execute(
                                f"ALTER DATABASE benchmark_timeline SET synchronous_commit = {commit}"
                            )
                        name = kind.__name__.lower() + ("" if commit == "on" else ", no disk")
                        seen[name] += asyncio.run(timeline(kind, url))
    medians = [
        (*map(median, zip(*jobs, strict=True)), median(map(sum, jobs))) for jobs in seen.values()
    ]
    rows = [
        (phase, *(f"{value:.2f}" for value in row))
        for phase, *row in zip((*PHASES, "all of it"), *medians, strict=True)
    ]
    print(table([("median ms", *seen), *rows]))


if __name__ == "__main__":
    main()
