"""An app whose tasks run in processes of their own, which import this module."""

import asyncio
import ctypes
import functools
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from taskq import App, JobAborted, JobContext, Retry, RetryStrategy, Snooze

app = App()
logger = logging.getLogger("crunching")


class Point(BaseModel):
    x: int
    at: datetime


@dataclass
class Box:
    corners: list[Point]
    pid: int


class OddError(Exception):
    """What pickle itself could not make again."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


process = functools.partial(app.task, executor="process")


@process(name="box", store_result=True)
def box(corners: list[Point]) -> Box:
    assert all(isinstance(corner, Point) for corner in corners)
    return Box(corners=corners, pid=os.getpid())


@process(name="pid", store_result=True)
def pid(seconds: float = 0) -> int:
    time.sleep(seconds)
    return os.getpid()


@process(name="die")
def die(how: str) -> None:
    match how:
        case "exit":
            os._exit(7)
        case "segfault":
            ctypes.string_at(0)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "forked":
            if os.fork() == 0:
                time.sleep(20)
                os._exit(0)
            os._exit(8)
        case "system exit":
            sys.exit(9)


@process(name="die once", retry=1, store_result=True, pass_context=True)
def die_once(context: JobContext) -> list[str]:
    if context.job.attempt == 1:
        os._exit(7)
    return [attempt.error_type for attempt in context.failed_attempts]


@process(name="wrong", retry=RetryStrategy(max_attempts=1, retry_exceptions=[OddError]))
def wrong(how: str) -> None:
    match how:
        case "odd":
            raise OddError(5, "odd")
        case "local":

            class LocalError(Exception): ...

            raise LocalError("of no module")
        case "group":
            raise ExceptionGroup("both", [ValueError("a"), OddError(6, "b")])


@process(name="say", pass_context=True)
def say(context: JobContext, what: str) -> None:
    if context.job.attempt > 1:
        return
    match what:
        case "retry":
            raise Retry({"seconds": 0}, message="once more")
        case "snooze":
            raise Snooze({"seconds": 3600})
        case "abort":
            raise JobAborted("enough")


@process(name="sleep")
def sleep(file: Path, seconds: float) -> None:
    file.write_text(str(os.getpid()))
    time.sleep(seconds)


@process(name="short", timeout=0.5, retry=False)
def short(seconds: float) -> None:
    time.sleep(seconds)


@process(name="polite", pass_context=True)
def polite(context: JobContext, file: Path) -> None:
    file.write_text(str(os.getpid()))
    while not context.should_abort():
        time.sleep(0.01)
    file.write_text(f"{context.abort_reason()}")
    raise JobAborted


@process(name="tell", pass_context=True, store_result=True)
def tell(context: JobContext) -> dict[str, Any]:
    context.report_progress(3, 4, "nearly")
    logger.debug("not to be seen")
    logger.info("counts to %s", 3, extra={"fruit": "apple", "lock": threading.Lock()})
    try:
        raise ValueError("a mistake")
    except ValueError:
        logger.exception("went wrong")
    refused = []
    for ask in (context.transaction, lambda: context.connection):
        try:
            ask()
        except Exception as error:
            refused.append(f"{type(error).__name__}: {error}")
    try:
        context.additional_context["lock"]
    except Exception as error:
        refused.append(f"{type(error).__name__}: {error}")
    return {
        "worker": context.worker_name,
        "task": context.task.name,
        "is own app": context.app is app,
        "colour": context.additional_context["colour"],
        "job": context.job.id,
        "refused": refused,
        "child": subprocess.run(["true"], check=True).returncode,
    }


@process(name="defers", store_result=True)
def defers() -> int:
    job_id: int = app.configure_task("pid").defer()
    return job_id


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@process(name="hidden")
@plain
async def hidden() -> None:
    await asyncio.sleep(0)


@process(name="lock", store_result=True)
def lock() -> Any:
    return threading.Lock()


@process(name="unneeded")
def unneeded() -> Any:
    return threading.Lock()


@app.task(name="neighbour")
async def neighbour(seconds: float) -> None:
    await asyncio.sleep(seconds)


if __name__ == "__main__":
    app.run_worker()
