"""A worker in a process of its own whose tasks count what they do, for a test that kills it."""

import asyncio
import random
import time

from sqlalchemy import text

from taskq import App, JobContext

app = App()

COUNT = text("UPDATE counters SET count = count + 1 WHERE id = :counter")


def moment() -> float:
    return random.uniform(0, 0.004)


@app.task(name="echo", pass_context=True, transaction=True)
async def echo(context: JobContext, counter: int) -> None:
    await context.connection.execute(COUNT, {"counter": counter})


@app.task(name="whole_async", pass_context=True, transaction=True, store_result=True, retry=True)
async def whole_async(context: JobContext, counter: int, echoed: int) -> int:
    connection = context.connection
    await connection.execute(COUNT, {"counter": counter})
    await echo.configure(connection=connection).defer_async(counter=echoed)
    await asyncio.sleep(moment())
    return counter


@app.task(name="whole_sync", pass_context=True, transaction=True, store_result=True, retry=True)
def whole_sync(context: JobContext, counter: int, echoed: int) -> int:
    connection = context.connection
    connection.execute(COUNT, {"counter": counter})
    echo.configure(connection=connection).defer(counter=echoed)
    time.sleep(moment())
    return counter


@app.task(name="block_async", pass_context=True, retry=True)
async def block_async(context: JobContext, counter: int, echoed: int) -> None:
    async with context.transaction() as connection:
        await connection.execute(COUNT, {"counter": counter})
        await asyncio.sleep(moment())
        await echo.configure(connection=connection).defer_async(counter=echoed)
    await asyncio.sleep(moment())


@app.task(name="block_sync", pass_context=True, retry=True)
def block_sync(context: JobContext, counter: int, echoed: int) -> None:
    with context.transaction() as connection:
        connection.execute(COUNT, {"counter": counter})
        time.sleep(moment())
        echo.configure(connection=connection).defer(counter=echoed)
    time.sleep(moment())


TASKS = (whole_async, whole_sync, block_async, block_sync)

if __name__ == "__main__":
    app.run_worker()
