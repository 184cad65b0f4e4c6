"""The shop's web application."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import BigInteger, Identity
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from shop.jobs import app, engine, send_receipt
from taskq.contrib.asgi import InTransaction, lifespan
from taskq.contrib.dashboard import Dashboard
from taskq.exceptions import JobNotFound


class Base(DeclarativeBase):
    """The shop's tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    customer: Mapped[str]


@asynccontextmanager
async def own_lifespan(web: FastAPI) -> AsyncIterator[None]:
    """Make the shop's table, and close its connections at the end."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


# A worker beside the requests is for small shops. Others run `python -m taskq worker` as a service.
WORKER = os.environ.get("SHOP_WORKER") == "1"
web = FastAPI(lifespan=lifespan(app, worker=WORKER, within=own_lifespan))
web.mount("/jobs", Dashboard(app))


async def get_session() -> AsyncIterator[AsyncSession]:
    """The session of a request, whose transaction ends with it."""
    async with AsyncSession(engine) as session, session.begin():
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


def get_jobs(session: Session) -> InTransaction:
    """What defers in the transaction of the request."""
    return InTransaction(session)


Jobs = Annotated[InTransaction, Depends(get_jobs)]


@web.post("/orders")
async def order(customer: str, session: Session, jobs: Jobs) -> dict[str, int]:
    """Take an order: with its job, or not at all."""
    made = Order(customer=customer)
    session.add(made)
    await session.flush()
    job_id = await jobs(send_receipt).defer_async(order_id=made.id, to=customer)
    if "@" not in customer:
        raise HTTPException(422, "a customer is an address")  # rolls both back
    return {"order_id": made.id, "job_id": job_id}


@web.get("/receipts/{job_id}")
async def receipt(job_id: int) -> dict[str, str]:
    """How far the receipt of an order is."""
    try:
        found = await app.job_manager.get_job_async(job_id)
    except JobNotFound:
        raise HTTPException(404, f"there is no job {job_id}") from None
    return {"status": found.status.value}
