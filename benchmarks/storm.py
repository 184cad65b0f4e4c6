"""Twenty clients that defer one job at a time: what the notifications cost.

    python -m benchmarks.storm [URL]

Prints jobs per second when every transaction notifies, when one notifies for all that run at once (which
is what taskq does unless it is in a caller's transaction), and without notifications.
"""

import asyncio
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import psycopg

from taskq import App
from taskq.embedded import EmbeddedServer

CLIENTS = 20
JOBS = 100
ROUNDS = 5

_DEFER = "SELECT taskq_defer_jobs('[{\"task_name\": \"noop\"}]', 'raise', %s)"
# As if somebody else notified for all of them, all the time.
_SILENCE = (
    "SELECT pg_advisory_lock(hashtextextended(taskq_channel() || ' default', 0))",
    "SELECT pg_advisory_unlock(hashtextextended(taskq_channel() || ' default', 0))",
)


async def client(url: str, share: bool) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for _ in range(JOBS):
            await connection.execute(_DEFER, [share])


async def storm(url: str, share: bool) -> float:
    """Jobs per second."""
    began = perf_counter()
    await asyncio.gather(*(client(url, share) for _ in range(CLIENTS)))
    return CLIENTS * JOBS / (perf_counter() - began)


async def measure(url: str) -> dict[str, float]:
    """Medians over the rounds, interleaved, with one session that listens."""
    seen: dict[str, list[float]] = {"each notifies": [], "one for all": [], "none": []}
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as listener:
        await listener.execute("SELECT taskq_listen()")
        for _ in range(ROUNDS):
            seen["each notifies"].append(await storm(url, False))
            seen["one for all"].append(await storm(url, True))
            await listener.execute(_SILENCE[0])
            seen["none"].append(await storm(url, True))
            await listener.execute(_SILENCE[1])
    return {name: median(rates) for name, rates in seen.items()}


def main() -> None:
    with ExitStack() as stack:
        url = sys.argv[1] if sys.argv[1:] else None
        if url is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="taskq-storm-")))
            folder.chmod(0o711)
            url = stack.enter_context(EmbeddedServer(folder / "server")).url
        with App(url) as app:
            app.schema_manager.apply_schema()
        medians = asyncio.run(measure(url.replace("+psycopg", "", 1)))
    for name, rate in medians.items():
        print(f"{name:16}{rate:10,.0f} jobs/s  {rate / medians['none']:6.2f} of none")


if __name__ == "__main__":
    main()
