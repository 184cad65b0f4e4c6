"""What is done when an order has been taken: taskq's own tasks, and Django's."""

from orders.models import Order
from taskq.contrib.django import app

try:
    from django.tasks import task
except ModuleNotFoundError:  # Django 5.2
    from django_tasks import task


@app.task(retry=3)
def pay(order_id: int) -> None:
    """Take the money, and have a receipt written: both are committed, or neither."""
    Order.objects.filter(pk=order_id).update(paid=True)
    write_receipt.enqueue(order_id)


@task(queue_name="mail", retry=3)
async def write_receipt(order_id: int) -> str:
    """Write the receipt; a task of Django's, with a retry of taskq's."""
    order = await Order.objects.aget(pk=order_id)
    order.receipt = f"Thank you, {order.email}"
    await order.asave()
    return order.receipt


@task(backend="reports")
def add_to_report(amount: int) -> int:
    """Done in the other database, by a worker of its own."""
    return amount
