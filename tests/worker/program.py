"""A worker in a process of its own, for tests that kill it: options come from the environment."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from taskq import App

app = App()


def note(text: str) -> None:
    """Let the test know, from whichever process."""
    with (Path(os.environ["TASKQ_TEST_FOLDER"]) / "notes").open("a") as notes:
        notes.write(f"{text}\n")


@app.task(name="nap")
async def nap(seconds: float) -> None:
    note("nap")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note("nap cancelled")
        raise


@app.task(name="doze")
def doze(seconds: float) -> None:
    note("doze")
    time.sleep(seconds)


@app.task(name="hog")
async def hog(seconds: float) -> None:
    note("hog")
    time.sleep(seconds)  # noqa: ASYNC251
    note("hog ended")


@app.task(name="innocent")
async def innocent(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task(name="killer")
def killer(seconds: float) -> None:
    time.sleep(seconds)
    note("killer")
    os._exit(1)


running: set[str] = set()


@app.task(name="accomplice")
async def accomplice(seconds: float) -> None:
    """Kills the worker if another one runs."""
    if "accomplice" in running:
        note("accomplices")
        os._exit(1)
    running.add("accomplice")
    await asyncio.sleep(seconds)
    running.discard("accomplice")


def leave(*_: object) -> NoReturn:
    sys.exit(3)


async def leave_later() -> None:
    await asyncio.sleep(0)
    raise KeyboardInterrupt


kept = set[asyncio.Task[None]]()


@app.task(name="unruly")
async def unruly(how: str) -> None:
    """Does to the event loop what would end it."""
    note(how)
    loop = asyncio.get_running_loop()
    match how:
        case "task":
            await asyncio.create_task(leave_later())
        case "gather":
            await asyncio.gather(asyncio.sleep(600), leave_later())
        case "group":
            async with asyncio.TaskGroup() as group:
                group.create_task(leave_later())
                group.create_task(asyncio.sleep(600))
        case "forgotten task":
            kept.add(asyncio.create_task(leave_later()))
        case "callback":
            loop.call_soon(leave)
        case "timer":
            loop.call_later(0.01, leave)
        case "done callback":
            task = asyncio.create_task(asyncio.sleep(0))
            task.add_done_callback(leave)
            await task
        case "other thread":
            await asyncio.to_thread(loop.call_soon_threadsafe, leave)
        case "stop":
            loop.stop()
    await asyncio.sleep(0.05)


if __name__ == "__main__":
    if "TASKQ_TEST_LEAVE_ON_SIGTERM" in os.environ:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    app.run_worker()
