"""An app for the tests of the dashboard, with tasks of every kind."""

import asyncio
from datetime import date, datetime
from enum import Enum
from typing import Any, Literal

from taskq import App, JobContext, Limit

app = App(queue_limits={"payments": Limit("stripe", concurrency=20)})


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@app.task(name="shop.mail.send_receipt", queue="mail", retry=3, tags=["mail"])
async def send_receipt(to: str, order: int, copy: bool = False, note: str | None = None) -> None:
    """Send the receipt of an order.

    Twice does no harm: the relay drops what it has seen.
    """


@app.task(name="shop.images.resize", queue="images", store_result=True, pass_context=True)
async def resize(
    context: JobContext, path: str, size: Size, formats: list[str] | None = None
) -> dict[str, Any]:
    """Make a picture smaller, and report how far it is."""
    for done in range(1, 5):
        context.report_progress(done, total=4, message=f"step {done}")
        await asyncio.sleep(0.05)
    return {"path": path, "size": size.value, "formats": formats or []}


@app.task(
    name="shop.payments.charge",
    queue="payments",
    limit=Limit("tenant", concurrency=2, by="account"),
)
async def charge(account: str, cents: int, currency: Literal["EUR", "USD"] = "EUR") -> str:
    """Charge a card, once."""
    raise ConnectionError(f"the bank of {account} does not answer")


@app.task(name="shop.stock.sync", lock="stock", aliases=["stock.sync"])
async def sync_stock(since: datetime | None = None, until: date | None = None) -> int:
    """Read what is in stock from the warehouse."""
    return 12


@app.periodic(cron="0 6 * * MON-FRI", timezone="Europe/Berlin")
@app.task(name="shop.reports.daily", queue="reports", queueing_lock="daily")
async def daily_report(timestamp: int, recipients: int = 3) -> None:
    """Mail yesterday's figures."""


@app.periodic(cron="*/15 * * * *", periodic_id="carts")
@app.task(name="shop.carts.remind")
async def remind(timestamp: int) -> None:
    """Remind those who left their carts."""


@app.task(name="wait")
async def wait(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task(name="anything")
def anything(**values: object) -> None: ...
