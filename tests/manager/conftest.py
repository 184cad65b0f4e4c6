"""An app on the test's own database, and a task of which one job at a time may wait."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from taskq import App
from taskq.task import Task


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with App(database_url) as app:
        yield app


@pytest.fixture
def send(app: App) -> Task[..., Any]:
    @app.task(name="send", queueing_lock="q")
    def send(to: str) -> None: ...

    return send
