"""An app for the tests of the command line."""

import asyncio
import logging
from pathlib import Path

from taskq import App, JobContext, Limit

app = App(worker_defaults={"name": "by default"})
tenant = Limit("tenant", concurrency=2, by="account")
no_app = "a string"

logger = logging.getLogger("shop")


@app.task(name="add", store_result=True)
def add(a: int, b: int = 0) -> int:
    return a + b


# Not while a test runs.
@app.periodic(cron="30 3 1 1 *", timezone="Europe/Berlin")
@app.task(name="sweep", aliases=["clean"], queue="night")
async def sweep(timestamp: int, depth: int = 1) -> None: ...


@app.task(name="who", pass_context=True, store_result=True)
async def who(context: JobContext) -> str:
    return context.worker_name


@app.task(name="hold")
def hold(started: Path, go: Path) -> None:
    """Say that it has started by one pipe, and wait until another says go."""
    started.write_text("started\n")
    with go.open() as pipe:
        pipe.readline()


@app.on("heard", priority=2)
@app.task(name="shout")
def shout(text: str) -> None:
    logger.debug("hears")
    logger.warning("heard %s", text)
    raise ValueError(text)


@app.task(name="sync", limit=tenant)
def sync(account: str) -> None: ...


@app.task(name="wait")
async def wait() -> None:
    logger.warning("waits")
    await asyncio.Event().wait()
