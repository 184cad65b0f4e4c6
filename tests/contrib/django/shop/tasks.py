"""Tasks of the app, which nothing imports but their discovery."""

import asyncio
import threading

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from taskq.contrib.django import app
from tests.contrib.django.shop.models import Order


@app.task(queue="mail")
def pay(order_id: int) -> None:
    Order.objects.filter(pk=order_id).update(paid=True)


@app.task(store_result=True)
async def count_orders() -> int:
    counted: int = await Order.objects.acount()
    return counted


@app.task
async def pay_later(order_id: int) -> None:
    await pay.defer_async(order_id=order_id)


@app.task
def pay_and_fail(order_id: int) -> None:
    with transaction.atomic():
        Order.objects.filter(pk=order_id).update(paid=True)
        pay.defer(order_id=order_id)
        raise RuntimeError("no money")


@app.task(store_result=True)
def break_connection() -> int:
    """Leaves behind a connection that the server has ended."""
    used = pid()
    connection.connection.close()
    return used


def pid() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found: int = cursor.fetchone()[0]
    return found


@app.task(store_result=True)
async def session() -> int:
    return await sync_to_async(pid)()


@app.task(store_result=True)
async def meet() -> int:
    """Two attempts have to be in their queries at once."""
    async with asyncio.timeout(10):
        return await sync_to_async(_met)()


_meeting = threading.Barrier(2, timeout=5)


def _met() -> int:
    _meeting.wait()
    return pid()
