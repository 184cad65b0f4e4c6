"""The shop's jobs, in the database that its orders are in."""

import asyncio
import os

from sqlalchemy.ext.asyncio import create_async_engine

from taskq import App, RetryStrategy

engine = create_async_engine(os.environ["SHOP_DATABASE_URL"])
app = App(engine)


@app.task(queue="mail", retry=RetryStrategy(max_attempts=5, exponential_wait=2), store_result=True)
async def send_receipt(order_id: int, to: str) -> str:
    """Send the receipt of an order."""
    await asyncio.sleep(0.5)  # whatever sends it
    return f"receipt {order_id} for {to}"
