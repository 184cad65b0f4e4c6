"""What is done after an order, by workers."""

import asyncio
import logging

from sqlalchemy import update

from shop.orders import Order
from taskq import App, AsyncTransactionContext, RetryStrategy

app = App()  # TASKQ_DATABASE_URL, or libpq's variables, or an embedded server

logger = logging.getLogger(__name__)


@app.task(queue="mail", retry=RetryStrategy(max_attempts=5, exponential_wait=2))
async def send_receipt(order_id: int, to: str) -> None:
    logger.info("sending the receipt of order %d to %s", order_id, to)


@app.task(retry=RetryStrategy(max_attempts=5, wait=10))
async def pack(order_id: int, seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)  # somebody packs
    await ship.defer_async(order_id=order_id)


@app.task(pass_context=True, transaction=True)
async def ship(context: AsyncTransactionContext, order_id: int) -> None:
    # In one commit with the end of the job: it is shipped once.
    await context.connection.execute(
        update(Order).where(Order.id == order_id).values(state="shipped")
    )
