"""The dashboard of a shop on the test's own database, and who asks it for pages."""

import re
from collections.abc import AsyncIterator, Callable
from html import unescape
from typing import Any

import httpx
import pytest

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from tests.dashboard import shop

HERE = "http://testserver"

# What a browser says of a form that a page of the dashboard sends.
FROM_PAGE = {"sec-fetch-site": "same-origin", "origin": HERE}

Browse = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[App]:
    async with shop.app.replace_database(database_url):
        yield shop.app


@pytest.fixture
async def browse(app: App) -> AsyncIterator[Browse]:
    """Makes a client of a dashboard, or of the application that it is mounted in."""
    clients: list[httpx.AsyncClient] = []

    def make(
        access: Access = Access.OPERATE, *, within: Any = None, **options: Any
    ) -> httpx.AsyncClient:
        application = within or Dashboard(app, authorize=lambda request: access, **options)
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(application), base_url=HERE, headers=FROM_PAGE
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def client(browse: Browse) -> httpx.AsyncClient:
    """One who may operate."""
    return browse()


def text_of(page: httpx.Response) -> str:
    """What people read on a page, in one line."""
    body = re.sub(r"<(script|style|title)\b.*?</\1>", "", page.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", body)).split())
