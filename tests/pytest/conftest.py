"""The plugin's own fixtures, on the server of this run."""

import psycopg
import pytest

from taskq import App
from tests.pytest import shop


@pytest.fixture(scope="session")
def taskq_app() -> App:
    return shop.app


@pytest.fixture(scope="session")
def taskq_server(server_url: str) -> str:
    return server_url


@pytest.fixture(scope="session")
def taskq_prepare() -> object:
    def make_notes(url: str) -> None:
        with psycopg.connect(url.replace("+psycopg", "", 1)) as connection:
            connection.execute("CREATE TABLE notes (what text)")

    return make_notes


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    shop.sent.clear()
    shop.threads.clear()
