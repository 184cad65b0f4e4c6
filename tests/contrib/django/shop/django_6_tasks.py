"""Tasks of ``django.tasks``, with Django 6."""

from typing import Any

from django.tasks import TaskContext, task

from tests.contrib.django.shop.models import Order


@task(backend="default")
def add(a: int, b: int) -> int:
    return a + b


@task(backend="default")
def describe(value: tuple[int, int]) -> dict[str, Any]:
    return {"type": type(value).__name__, "value": value}


@task(backend="default")
async def count() -> int:
    counted: int = await Order.objects.acount()
    return counted


@task(backend="default")
def fail(why: str) -> None:
    raise ValueError(why)


@task(backend="default", takes_context=True, retry=3)
def succeed_at_second(context: TaskContext) -> int:
    if context.attempt < 2:
        raise RuntimeError("not yet")
    attempt: int = context.attempt
    return attempt


@task(backend="default")
def return_object() -> object:
    return object()


def any_number(*numbers: int) -> int:
    return sum(numbers)


def plain() -> None: ...


@task(backend="reports")
def report(number: int) -> int:
    return number
