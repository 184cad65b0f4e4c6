from collections.abc import Callable, Iterator

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine

from shop.orders import Base
from shop.web import web
from taskq.pytest import Jobs


@pytest.fixture(scope="session")
def taskq_prepare() -> Callable[[str], None]:
    """Give each test's database the tables of the application."""

    def make_tables(url: str) -> None:
        engine = create_engine(url)
        Base.metadata.create_all(engine)
        engine.dispose()

    return make_tables


@pytest.fixture
def client(jobs: Jobs) -> Iterator[TestClient]:
    with TestClient(web) as client:
        yield client
