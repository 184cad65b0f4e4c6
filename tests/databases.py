"""The databases of the tests: clones of one with the schema, made and dropped beside the tests."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count

import psycopg
from pytest_postgresql.executors import NoopExecutor
from pytest_postgresql.janitor import DatabaseJanitor

# Each has three hundred files.
_MOST_TO_DROP = 8


class Databases:
    """Clones of the template of a server, of which each test gets one.

    To make one and to drop it takes a tenth of a second, most of which the server waits for its other
    processes. So the next one is made, and the last one is dropped, while a test runs.

    Args:
        server: The server, and the template.
    """

    def __init__(self, server: NoopExecutor) -> None:
        self._server = server
        self._numbers = count()
        self._pool = ThreadPoolExecutor(max_workers=2)
        self._next = self._pool.submit(self._make)
        self._dropping: deque[Future[None]] = deque()

    @contextmanager
    def lend(self) -> Iterator[psycopg.Connection]:
        """Connect to a database that no other test has had, or gets."""
        database, self._next = self._next.result(), self._pool.submit(self._make)
        try:
            with psycopg.connect(
                host=database.host,
                port=database.port,
                user=database.user,
                password=database.password,
                dbname=database.dbname,
            ) as connection:
                yield connection
        finally:
            self._drop(database)

    def close(self) -> None:
        """Drop what is left."""
        self._drop(self._next.result())
        self._pool.shutdown()
        for dropping in self._dropping:
            dropping.result()

    def _drop(self, database: DatabaseJanitor) -> None:
        self._dropping.append(self._pool.submit(database.drop))
        while self._dropping and (self._dropping[0].done() or len(self._dropping) > _MOST_TO_DROP):
            self._dropping.popleft().result()

    def _make(self) -> DatabaseJanitor:
        server = self._server
        database = DatabaseJanitor(
            user=server.user,
            host=server.host,
            port=server.port,
            dbname=f"{server.dbname}_{next(self._numbers)}",
            template_dbname=server.template_dbname,
            maintenance_dbname=server.maintenance_dbname,
            password=server.password,
        )
        database.init()
        return database
