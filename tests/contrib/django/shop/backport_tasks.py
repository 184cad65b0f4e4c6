"""Tasks of ``django_tasks``."""

from typing import Any

from django_tasks import TaskContext, task

from tests.contrib.django.shop.models import Order


@task(backend="backport")
def add(a: int, b: int) -> int:
    return a + b


@task(backend="backport")
def describe(value: tuple[int, int]) -> dict[str, Any]:
    return {"type": type(value).__name__, "value": value}


@task(backend="backport")
async def count() -> int:
    counted: int = await Order.objects.acount()
    return counted


@task(backend="backport")
def fail(why: str) -> None:
    raise ValueError(why)


@task(backend="backport", takes_context=True, retry=3)
def succeed_at_second(context: TaskContext) -> int:
    if context.attempt < 2:
        raise RuntimeError("not yet")
    attempt: int = context.attempt
    return attempt


@task(backend="backport")
def return_object() -> object:
    return object()


def any_number(*numbers: int) -> int:
    return sum(numbers)


def plain() -> None: ...
