"""An app whose tests these are."""

import asyncio
import threading
from contextvars import ContextVar
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import text

from taskq import (
    App,
    AsyncTransactionContext,
    JobContext,
    Limit,
    RetryStrategy,
    TransactionContext,
)

app = App("postgresql://nobody@nowhere/none", import_paths=[])

sent: list[str] = []
threads: list[int] = []
visitor: ContextVar[str] = ContextVar("visitor", default="nobody")


@app.task(queue="mail")
def send_mail(to: str, copies: int = 1, on: date | None = None) -> None:
    sent.append(to)
    threads.append(threading.get_ident())


@app.task
def welcome(user: str) -> None:
    send_mail.configure(schedule_in={"days": 1}).defer(to=f"{user} later")
    send_mail.defer(to=user)


@app.task
async def welcome_async(user: str) -> None:
    await send_mail.defer_async(to=user)
    send_mail.defer(to=f"{user} again")


@app.task
async def publish_async(user: str) -> None:
    await app.publish_async("signed_up", user=user)


@app.task(store_result=True)
def size_of(path: Path) -> Path:
    assert isinstance(path, Path)
    return path.with_suffix(".size")


@app.task
async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


@app.task(retry=RetryStrategy(max_attempts=2, wait=60))
def refuse(why: str) -> None:
    raise ValueError(why)


@app.task(pass_context=True)
def attempt_of(context: JobContext) -> list[Any]:
    return [context.job.attempt, context.additional_context.get("shop"), visitor.get()]


@app.task(pass_context=True, transaction=True)
def note(context: TransactionContext, what: str, *, fail: bool = False) -> None:
    context.connection.execute(text("INSERT INTO notes VALUES (:what)"), {"what": what})
    if fail:
        raise ValueError(what)


@app.task(pass_context=True, transaction=True)
async def note_async(context: AsyncTransactionContext, what: str, *, fail: bool = False) -> None:
    await context.connection.execute(text("INSERT INTO notes VALUES (:what)"), {"what": what})
    if fail:
        raise ValueError(what)


@app.task(limit=Limit("calls", rate=1, per=600))
def call(number: int) -> None:
    sent.append(str(number))


@app.task(lock="one by one")
def in_turn(number: int) -> None:
    sent.append(str(number))


@app.task
def for_ever() -> None:
    for_ever.defer()


@app.on("signed_up")
@app.task
def greet(user: str) -> None:
    sent.append(f"hello {user}")
