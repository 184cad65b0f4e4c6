"""The app of the soak: jobs of every kind that end soon."""

import asyncio
import random

from taskq import App, JobContext, Limit, RetryStrategy

app = App()
tenant = Limit("tenant", concurrency=5, by="account")


@app.task(name="plain")
async def plain(number: int) -> None: ...


@app.task(name="threaded", store_result=True)
def threaded(number: int) -> dict[str, str]:
    return {"text": "x" * (number % 500)}


@app.task(name="limited", limit=tenant)
async def limited(account: str) -> None:
    await asyncio.sleep(0.001)


@app.task(name="reporting", pass_context=True)
async def reporting(context: JobContext) -> None:
    context.report_progress(1, total=2, message="half")


@app.task(name="failing", retry=RetryStrategy(max_attempts=2, wait=0))
async def failing(number: int) -> None:
    raise ValueError(f"no {number}")


async def defer_some(number: int) -> int:
    """Defer ten jobs of every kind; returns how many."""
    lock = f"lock {random.randrange(20)}"
    await plain.batch_defer_async(*({"number": number + n} for n in range(3)))
    await plain.configure(lock=lock).batch_defer_async({"number": 1}, {"number": 2})
    await plain.configure(schedule_in={"seconds": 0.5}, tags=["later"]).defer_async(number=number)
    await threaded.configure(priority=number % 3, metadata={"by": "soak"}).defer_async(
        number=number
    )
    await limited.defer_async(account=f"a{number % 7}")
    await reporting.defer_async()
    await failing.configure(queue="others").defer_async(number=number)
    return 10
