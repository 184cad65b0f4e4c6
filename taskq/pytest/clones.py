"""The databases of tests: clones of one with the schema, made and dropped beside the tests."""

import os
import secrets
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from taskq.database.database import Database
from taskq.database.url import database_url

# Each has three hundred files.
_MOST_TO_DROP = 8


class Clones:
    """Clones of a template on a server, of which each test gets one.

    To make one and to drop it takes a twentieth of a second each, most of which the server waits for its
    other processes. So the next one is made, and the last ones are dropped, while a test runs.

    Args:
        server: The URL of a database from which others may be made.
        prepare: Makes the template what it is to be; called with its URL, once.
    """

    def __init__(self, server: str, prepare: Callable[[str], None]) -> None:
        self._server = database_url("the server of the tests", server)
        self._parameters: dict[str, Any] = Database(self._server).libpq_parameters()
        # Another run, and each of xdist's workers, may use the same server.
        self._prefix = f"taskq_test_{os.getpid()}_{secrets.token_hex(4)}"
        self._numbers = count(1)
        self._dropping: deque[Future[None]] = deque()
        self._template = f"{self._prefix}_template"
        self._execute("CREATE DATABASE {}", self._template)
        try:
            prepare(self._url_of(self._template))
        except BaseException:
            self._drop(self._template)
            raise
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="taskq_clones")
        self._next = self._pool.submit(self._make)

    def take(self) -> str:
        """The URL of a database that no other test has had, or gets."""
        name, self._next = self._next.result(), self._pool.submit(self._make)
        return self._url_of(name)

    def give_back(self, url: str) -> None:
        """Have a database dropped, also with connections to it."""
        name = make_url(url).database
        self._dropping.append(self._pool.submit(self._drop, str(name)))
        while self._dropping and (self._dropping[0].done() or len(self._dropping) > _MOST_TO_DROP):
            self._dropping.popleft().result()

    def close(self) -> None:
        """Drop what is left, and the template."""
        self._dropping.append(self._pool.submit(self._drop, self._next.result()))
        self._pool.shutdown()
        for dropping in self._dropping:
            dropping.result()
        self._drop(self._template)

    def _make(self) -> str:
        name = f"{self._prefix}_{next(self._numbers)}"
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, self._template)
        return name

    def _drop(self, name: str) -> None:
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _execute(self, statement: str, *names: str) -> None:
        with psycopg.connect(**self._parameters, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))

    def _url_of(self, name: str) -> str:
        return self._server.set(database=name).render_as_string(hide_password=False)
