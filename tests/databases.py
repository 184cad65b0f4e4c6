"""The databases of the tests: clones of one with the schema, as the plugin gives them to tests of users'."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from taskq.database.database import Database
from taskq.pytest.clones import Clones


class Databases(Clones):
    """Clones of a template, each with a connection to it."""

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection]:
        """Connect to a database that no other test has had, or gets."""
        url = self.take()
        parameters: dict[str, Any] = Database.resolve(url).libpq_parameters()
        try:
            with psycopg.connect(**parameters) as connection:
                yield connection
        finally:
            self.give_back(url)
