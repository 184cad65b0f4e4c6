"""The plugin's own fixtures, on the server of this run."""

import psycopg
import pytest
from pytest_postgresql.executors import NoopExecutor
from sqlalchemy import URL

from taskq import App
from tests.pytest import shop


@pytest.fixture(scope="session")
def taskq_app() -> App:
    return shop.app


@pytest.fixture(scope="session")
def taskq_server(postgresql_noproc: NoopExecutor) -> str:
    server = postgresql_noproc
    url = URL.create(
        "postgresql+psycopg",
        username=server.user,
        password=server.password or None,
        database=server.maintenance_dbname,
        query={"host": str(server.host), "port": str(server.port)},
    )
    return url.render_as_string(hide_password=False)


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
