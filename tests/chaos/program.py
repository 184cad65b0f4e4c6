"""The worker of the chaos tests, in a process of its own, and its tasks; options come from the environment.

A task notes that it begins in a file, which is there whatever becomes of the database. Its effect is a row
that it writes in its transaction.
"""

import asyncio
import logging
import os
import sys
import threading
import time
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from sqlalchemy import text

from taskq import App, JobContext, Limit

NOTES_VARIABLE = "TASKQ_CHAOS_NOTES"

# A file that says by how many seconds this machine's clock is off for this program.
CLOCK_VARIABLE = "TASKQ_CHAOS_CLOCK"

app = App()

# A failed attempt, as for a connection that is lost within a transaction, is tried again.
AGAIN = True

EFFECT = text("INSERT INTO effects VALUES (:number, :job_id, :claim)")

two = Limit("two", concurrency=2)


def note(context: JobContext, number: int) -> None:
    """Note that an attempt begins: which job, which claim, when."""
    line = f"{number} {context.job.id} {context.job.claim} {time.monotonic()} {os.getpid()}\n"
    notes = os.open(os.environ[NOTES_VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(notes, line.encode())
    finally:
        os.close(notes)


def effect_of(context: JobContext, number: int) -> dict[str, int]:
    return {"number": number, "job_id": context.job.id, "claim": context.job.claim}


@app.task(name="plain", pass_context=True)
async def plain(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    await asyncio.sleep(seconds)


@app.task(name="thread", pass_context=True)
def thread(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    time.sleep(seconds)


@app.task(name="limited", pass_context=True, limit=two)
async def limited(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    await asyncio.sleep(seconds)


@app.task(name="whole_async", pass_context=True, transaction=True, retry=AGAIN, timeout=10)
async def whole_async(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    await context.connection.execute(EFFECT, effect_of(context, number))
    await asyncio.sleep(seconds)


@app.task(name="block_sync", pass_context=True, retry=AGAIN)
def block_sync(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    with context.transaction() as connection:
        connection.execute(EFFECT, effect_of(context, number))
        time.sleep(seconds)


@app.task(name="block_async", pass_context=True, retry=AGAIN, timeout=10)
async def block_async(context: JobContext, number: int, seconds: float) -> None:
    note(context, number)
    async with context.transaction() as connection:
        await asyncio.sleep(seconds)
        await connection.execute(EFFECT, effect_of(context, number))


@app.task(name="hog", pass_context=True)
async def hog(context: JobContext, number: int, seconds: float) -> None:
    """Blocks the event loop, the first time."""
    note(context, number)
    if context.job.claim == 1:
        time.sleep(seconds)  # noqa: ASYNC251


PLAIN = (plain, thread, limited)
WITH_EFFECT = (whole_async, block_sync, block_async)


def have_clock_be_off(file: Path) -> None:
    """Have what tells the time of day tell another one. Timers go by another clock."""
    true_time = time.time

    class OffDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: true_time() + int(file.read_text())
    for name, module in list(sys.modules.items()):
        if name.startswith("taskq.") and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = OffDatetime


def end_with_the_parent() -> None:
    """Have the process end when the one that started it has."""

    def watch() -> None:
        sys.stdin.read()
        os._exit(70)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the worker."""
    end_with_the_parent()
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    if file := os.environ.get(CLOCK_VARIABLE):
        have_clock_be_off(Path(file))
    app.run_worker()


if __name__ == "__main__":
    main()
