"""Apps on the test's own database, for what is offered beside taskq itself."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import pytest

from taskq import App, Worker

Start = Callable[..., Coroutine[Any, Any, Worker]]


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    with App(database_url) as opened:
        yield opened


@pytest.fixture
async def start(app: App) -> AsyncIterator[Start]:
    """Starts workers of the app, which are stopped at the end of the test."""
    running: list[tuple[Worker, asyncio.Task[None]]] = []

    async def start(**options: Any) -> Worker:
        worker = app.worker(install_signal_handlers=False, **options)
        task = asyncio.create_task(worker.run())
        running.append((worker, task))
        await until(lambda: task.done() or worker.id, "a worker that is registered")
        if task.done():
            task.result()
        return worker

    yield start
    for worker, _ in running:
        worker.stop()
    await asyncio.gather(*(task for _, task in running))


async def until(condition: Callable[[], object], what: str, seconds: float = 15) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        await asyncio.sleep(0.01)
