"""Django, set up once for the process, on the databases of each test."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.contrib.django.settings"

django = pytest.importorskip("django", reason="Django is not installed")
django.setup()

from django.db import connections  # noqa: E402

from taskq.contrib.django import DjangoApp, get_app  # noqa: E402
from tests.contrib.django.shop.models import Order  # noqa: E402
from tests.databases import Databases  # noqa: E402


def move(alias: str, info: Any) -> None:
    """Put an alias on another database."""
    connections[alias].close()
    connections[alias].settings_dict.update(
        NAME=info.dbname,
        USER=info.user,
        PASSWORD=info.password,
        HOST=info.host,
        PORT=str(info.port),
    )


@pytest.fixture(autouse=True)
def on_databases(connection: Any, databases: Databases) -> Iterator[None]:
    """The test's own databases, with the schema and a table of orders."""
    move("default", connection.info)
    with databases.lend() as other:
        move("reports", other.info)
        with connections["default"].schema_editor() as editor:
            editor.create_model(Order)
        yield
        for alias in ("default", "reports"):
            get_app(alias).close()
            connections[alias].close()


@pytest.fixture
def app() -> DjangoApp:
    return get_app()
