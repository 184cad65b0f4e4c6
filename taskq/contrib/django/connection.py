"""Operations on Django's own connection: in its ``atomic`` blocks, and statements of their own outside."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import psycopg
from asgiref.sync import sync_to_async
from django.db import Error as DjangoError
from django.db import connections, transaction
from psycopg.rows import tuple_row
from sqlalchemy.util import await_only

from taskq.contrib.django.database import AliasDatabase, refuse_engine
from taskq.database.bridges import PsycopgBridge, neutral
from taskq.database.errors import translated
from taskq.database.savepoints import refuse_pipeline
from taskq.exceptions import InvalidDatabase
from taskq.manager import JobManager
from taskq.queries.connection import Connection, Driver

P = ParamSpec("P")
T = TypeVar("T")


class DjangoJobManager(JobManager):
    """Operates on jobs by Django's connection of the thread, as the project's models do.

    Its async methods do so in the thread in which Django runs what is not async: that of the request.
    Of an app that was put on another database, and by ``on(connection)``, it does as any job manager.
    """

    @property
    def in_transaction(self) -> bool:
        """Whether the operations are in a transaction that goes on after them."""
        alias = self._alias
        return super().in_transaction if alias is None else connections[alias].in_atomic_block

    @property
    def _is_apart(self) -> bool:
        return super()._is_apart and self._alias is None

    @property
    def _alias(self) -> str | None:
        if self._connection is not None:
            return None
        database = self.database
        return database.alias if isinstance(database, AliasDatabase) else None

    def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        alias = self._alias
        if alias is None:
            return super()._run(operation, *args, **kwargs)
        if not self._awaits:
            return run_on_django(alias, operation, *args, **kwargs)
        in_thread = sync_to_async(run_on_django, thread_sensitive=True)
        ran: T = await_only(in_thread(alias, operation, *args, **kwargs))
        return ran


def run_on_django(
    alias: str,
    operation: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation on Django's connection of this thread.

    Outside of an ``atomic`` block each of its statements is committed at once. Inside it is in a savepoint,
    which is rolled back if it fails: the block is as it was, and may go on.

    Args:
        alias: Which database.
        operation: The operation.
        *args: Its arguments.
        **kwargs: Its arguments.

    Raises:
        InvalidDatabase: It is not PostgreSQL by psycopg 3, or in a pipeline.
        TransactionManagementError: The block was broken before, and is to be rolled back.
        SynchronousOnlyOperation: An event loop runs in this thread.
    """
    connection = connections[alias]
    refuse_engine(connection)
    # What taskq has no words of its own for, as a deadlock, is Django's error, as of a model.
    with connection.wrap_database_errors, translated(), _as_psycopg(), _savepoint(connection):
        return operation(DjangoBridge(connection), *args, **kwargs)


class DjangoBridge(PsycopgBridge):
    """The bridge to a connection of Django's.

    Statements go through Django's cursors, so that they are logged, counted and refused as those of models
    are; they are read as taskq reads them.

    Args:
        connection: Django's connection.
    """

    def __init__(self, connection: Any) -> None:
        self._django = connection
        # It connects, if need be, and is what a test replaces for a database that it may not use.
        with connection.cursor() as cursor:
            driver: object = cursor.connection
        if not isinstance(driver, psycopg.Connection):
            raise InvalidDatabase(
                f"DATABASES[{connection.alias!r}] connects by {type(driver).__module__}, and taskq needs "
                "psycopg 3: use 'django.db.backends.postgresql', or an engine that is built on it"
            )
        refuse_pipeline(driver)
        self._driver = driver
        super().__init__(lambda: neutral(psycopg.Cursor(driver, row_factory=tuple_row)))

    @property
    def driver(self) -> Driver:
        """The connection itself."""
        return self._driver

    def _send(self, cursor: Any, statement: bytes, values: Mapping[str, Any] | None) -> None:
        through = self._django.cursor()
        through.cursor = cursor
        with _as_psycopg():
            through.execute(statement.decode(), values)


@contextmanager
def _as_psycopg() -> Iterator[None]:
    try:
        yield
    except DjangoError as error:
        if isinstance(error.__cause__, psycopg.Error):
            # Django's has this one as its cause, and must not become this one's.
            raise error.__cause__ from None
        raise


@contextmanager
def _savepoint(connection: Any) -> Iterator[None]:
    if not connection.in_atomic_block and connection.get_autocommit():
        yield
        return
    with transaction.atomic(using=connection.alias):
        yield
