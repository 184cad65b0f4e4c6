"""The web application: it takes orders, and defers what is to be done with the order itself.

``WORKER=1`` has it run a worker as well, for as long as one process is enough.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession

from shop.orders import Order
from shop.tasks import app, pack, send_receipt
from taskq.contrib.asgi import Deferring, deferring_in, lifespan
from taskq.contrib.dashboard import Dashboard


async def get_session() -> AsyncIterator[AsyncSession]:
    # taskq's own engine is in autocommit; sessions are not.
    engine = app.database.async_engine.execution_options(isolation_level="READ COMMITTED")
    async with AsyncSession(engine, expire_on_commit=False) as session:
        yield session


SessionDep = Annotated[AsyncSession, Depends(get_session)]
DeferringDep = Annotated[Deferring, Depends(deferring_in(get_session))]

web = FastAPI(
    lifespan=lifespan(app, worker=True, concurrency=10, shutdown_graceful_timeout=5)
    if os.environ.get("WORKER")
    else lifespan(app)
)
web.mount("/jobs", Dashboard(app))


class NewOrder(BaseModel):
    to: str
    seconds_to_pack: float = 1.0


@web.post("/orders", status_code=201)
async def place_order(
    new: NewOrder, session: SessionDep, deferring: DeferringDep
) -> dict[str, int]:
    order = Order(to=new.to)
    session.add(order)
    await session.flush()  # gives it its id
    await deferring(send_receipt).defer_async(order_id=order.id, to=new.to)
    job_id = await deferring(pack).defer_async(order_id=order.id, seconds=new.seconds_to_pack)
    if not new.to:
        raise HTTPException(422, "nobody to send it to")  # nothing of it is there
    await session.commit()
    return {"order_id": order.id, "job_id": job_id}


@web.get("/orders/{order_id}")
async def read_order(order_id: int, session: SessionDep) -> dict[str, str]:
    order = await session.get(Order, order_id)
    if order is None:
        raise HTTPException(404)
    return {"to": order.to, "state": order.state}
