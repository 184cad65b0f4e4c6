"""A worker in a process of its own, for tests that kill it: options come from the environment."""

import asyncio
import os
import time
from pathlib import Path

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


if __name__ == "__main__":
    app.run_worker()
