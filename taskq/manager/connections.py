"""The connections that callers bring, made into what a Querier runs on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from psycopg.rows import tuple_row
from sqlalchemy import Connection, TextClause
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
)
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import await_only, greenlet_spawn

from taskq.exceptions import InvalidDatabase

P = ParamSpec("P")
T = TypeVar("T")

SyncConnection = Connection | Session | scoped_session[Any] | psycopg.Connection[Any]
AnyAsyncConnection = (
    AsyncConnection | AsyncSession | async_scoped_session[Any] | psycopg.AsyncConnection[Any]
)
AnyConnection = SyncConnection | AnyAsyncConnection

_dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]


def run(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's connection or session.

    Raises:
        InvalidDatabase: It is not one of ``SyncConnection``.
    """
    if isinstance(connection, Session | scoped_session):
        connection = connection.connection()
    if isinstance(connection, psycopg.Connection):
        connection = cast("Connection", _Psycopg(connection))
    if isinstance(connection, Connection | _Psycopg):
        return operation(connection, *args, **kwargs)
    raise _unusable(connection, "a Connection, a Session or a psycopg.Connection", "async")


async def run_async(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's async connection or session.

    Raises:
        InvalidDatabase: It is not one of ``AnyAsyncConnection``.
    """
    if isinstance(connection, AsyncSession | async_scoped_session):
        connection = await connection.connection()
    if isinstance(connection, AsyncConnection):
        return await connection.run_sync(operation, *args, **kwargs)
    if isinstance(connection, psycopg.AsyncConnection):
        bridged = cast("Connection", _AsyncPsycopg(connection))
        return await greenlet_spawn(partial(operation, bridged, *args, **kwargs))
    raise _unusable(
        connection, "an AsyncConnection, an AsyncSession or a psycopg.AsyncConnection", "sync"
    )


async def run_pooled(
    engine: AsyncEngine,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation on a connection from an engine's pool."""

    def run_in_greenlet() -> T:
        with engine.sync_engine.connect() as connection:
            return operation(connection, *args, **kwargs)

    # An AsyncConnection takes a greenlet each for connecting, for executing and for closing, and a
    # task for the last: a third more of the time that it takes to defer a job.
    return await greenlet_spawn(run_in_greenlet)


class _Rows:
    """As much of SQLAlchemy's result as a Querier reads."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def first(self) -> Any:
        return self._rows[0] if self._rows else None


class _Psycopg:
    """As much of SQLAlchemy's connection as a Querier uses, in a psycopg connection's transaction.

    An engine around the connection would take it for its own: set it up, and roll it back.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: TextClause, values: Mapping[str, Any] | None = None) -> _Rows:
        # The connection's own class of cursor may take parameters of another style.
        with psycopg.Cursor(self._connection, row_factory=tuple_row) as cursor:
            cursor.execute(_compiled(statement), values)
            return _Rows(cursor.fetchall() if cursor.description else ())


class _AsyncPsycopg:
    """The same for an async psycopg connection; runs in a greenlet, as SQLAlchemy's own do."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: TextClause, values: Mapping[str, Any] | None = None) -> _Rows:
        return await_only(self._execute(statement, values))

    async def _execute(self, statement: TextClause, values: Mapping[str, Any] | None) -> _Rows:
        async with psycopg.AsyncCursor(self._connection, row_factory=tuple_row) as cursor:
            await cursor.execute(_compiled(statement), values)
            return _Rows(await cursor.fetchall() if cursor.description else ())


def _compiled(statement: TextClause) -> bytes:
    return str(statement.compile(dialect=_dialect)).encode()


def _unusable(connection: object, wanted: str, other: str) -> InvalidDatabase:
    return InvalidDatabase(
        f"a {type(connection).__name__} cannot carry this: give {wanted}, or call the {other} method"
    )
