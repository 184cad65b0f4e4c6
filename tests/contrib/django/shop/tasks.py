"""Tasks of the app, which nothing imports but their discovery."""

from django.db import connection, transaction

from taskq.contrib.django import app
from tests.contrib.django.shop.models import Order


@app.task(queue="mail")
def pay(order_id: int) -> None:
    Order.objects.filter(pk=order_id).update(paid=True)


@app.task(store_result=True)
async def count_orders() -> int:
    return await Order.objects.acount()


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
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    connection.connection.close()
    return pid
