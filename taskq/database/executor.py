"""The connections that callers bring, and those of the pool, made into what a Querier runs on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader, Transformer
from psycopg.errors import UntranslatableCharacter
from psycopg.pq import Format, TransactionStatus
from psycopg.rows import tuple_row
from psycopg.types.datetime import TimestamptzLoader
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.util import await_only, greenlet_spawn

from taskq.database.engines import has_ended
from taskq.database.savepoints import (
    async_psycopg_savepoint,
    psycopg_savepoint,
    refuse_own,
    refuse_pipeline,
    savepoint,
)
from taskq.exceptions import InvalidDatabase
from taskq.queries.encodings import Driver, native_encoding, register_native_loaders
from taskq.queries.session import prepare_session
from taskq.unreadable import UnreadableTime, read_json

P = ParamSpec("P")


T = TypeVar("T")


C = TypeVar("C", bound=psycopg.Cursor[Any] | psycopg.AsyncCursor[Any])


SyncConnection = Connection | Session | scoped_session[Any] | psycopg.Connection[Any]


AnyAsyncConnection = (
    AsyncConnection | AsyncSession | async_scoped_session[Any] | psycopg.AsyncConnection[Any]
)


AnyConnection = SyncConnection | AnyAsyncConnection


# The types whose values Python may not be able to read.
_READ = ("jsonb", "timestamptz")


_LARGEST_POOL = 100


_dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]


_SESSIONS = (Session, scoped_session, AsyncSession, async_scoped_session)


_SYNC = "a Connection, a Session or a psycopg.Connection"
_ASYNC = "an AsyncConnection, an AsyncSession or a psycopg.AsyncConnection"


def check_connection(connection: object) -> None:
    """Refuse what cannot carry a caller's transaction, as far as that can be told without I/O.

    Raises:
        InvalidDatabase: It is not one of ``AnyConnection``, or ``savepoints`` refuses it.
    """
    if isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        refuse_pipeline(connection)
    elif isinstance(connection, Connection | AsyncConnection):
        # An async one has none until it is entered.
        opened = connection if isinstance(connection, Connection) else connection.sync_connection
        # What is closed or was cut off has nothing to look at.
        if opened is not None and not opened.closed and not opened.invalidated:
            refuse_pipeline(opened.connection.driver_connection)
            refuse_own(opened)
    elif not isinstance(connection, _SESSIONS):
        raise _unusable(connection, f"{_SYNC}, or for the async methods {_ASYNC}")


def run(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's connection or session.

    Raises:
        InvalidDatabase: It is not one of ``SyncConnection``, or ``transactions`` refuses it.
    """
    if isinstance(connection, Session | scoped_session):
        connection = connection.connection()
    if isinstance(connection, psycopg.Connection):
        cursor = partial(psycopg.Cursor, connection, row_factory=tuple_row)
        bridged = cast("Connection", _Psycopg(lambda: _neutral(cursor())))
        with psycopg_savepoint(connection):
            return operation(bridged, *args, **kwargs)
    if isinstance(connection, Connection):
        with savepoint(connection), reading(connection):
            return operation(connection, *args, **kwargs)
    raise _unusable(connection, f"{_SYNC}, or call the async method")


async def run_async(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's async connection or session.

    Raises:
        InvalidDatabase: It is not one of ``AnyAsyncConnection``, or ``transactions`` refuses it.
    """
    if isinstance(connection, AsyncSession | async_scoped_session):
        connection = await connection.connection()
    if isinstance(connection, AsyncConnection):
        return await connection.run_sync(run, operation, *args, **kwargs)
    if isinstance(connection, psycopg.AsyncConnection):
        cursor = partial(psycopg.AsyncCursor, connection, row_factory=tuple_row)
        bridged = cast("Connection", _AsyncPsycopg(lambda: _neutral(cursor())))
        async with async_psycopg_savepoint(connection):
            return await greenlet_spawn(partial(operation, bridged, *args, **kwargs))
    raise _unusable(connection, f"{_ASYNC}, or call the sync method")


async def adopt(connection: psycopg.AsyncConnection, *, pooler: bool = False) -> None:
    """Make a connection, whoever's engine it comes from, read rows and JSON as taskq does, in autocommit.

    Args:
        connection: A connection that nobody else uses.
        pooler: Whether a pooler stands between, so that nothing may be prepared.
    """
    await connection.set_autocommit(True)
    connection.cursor_factory, connection.row_factory = psycopg.AsyncCursor, tuple_row
    set_json_loads(read_json, connection)
    if pooler:
        connection.prepare_threshold = None
    elif connection.prepare_threshold:
        # From the first time on, and not from the sixth: planning a claim takes longer than a claim.
        connection.prepare_threshold = 0


async def run_adopted(
    connection: psycopg.AsyncConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation on a connection that was adopted."""
    bridged = cast("Connection", _AsyncPsycopg(connection.cursor))
    return await greenlet_spawn(partial(operation, bridged, *args, **kwargs))


@contextmanager
def pooled(engine: Engine) -> Iterator[Connection]:
    """A connection from the pool of an engine in autocommit; in a greenlet, if the engine is async.

    50 microseconds less of processor time for each statement than by the engine's own ``connect()``, of
    the 200 that it took to defer a job.
    """
    taken = engine.raw_connection()
    driver = cast("psycopg.Connection | psycopg.AsyncConnection", taken.driver_connection)
    try:
        if isinstance(driver, psycopg.AsyncConnection):
            yield cast("Connection", _AsyncPsycopg(driver.cursor))
        else:
            yield cast("Connection", _Psycopg(driver.cursor))
    finally:
        if driver.closed:
            # As SQLAlchemy does it: the server is gone, and for the others in the pool as well.
            engine.pool._invalidate(taken)
        elif driver.info.transaction_status is not TransactionStatus.IDLE:
            taken.invalidate()  # cut off in the middle
        taken.close()


@contextmanager
def borrowed(engine: Engine, *, pooler: bool) -> Iterator[Connection]:
    """A connection of any engine, through SQLAlchemy; not one that was ended while it was idle.

    Args:
        engine: Whose.
        pooler: Whether a pooler stands between, so that nothing may be prepared.
    """
    connection = engine.connect()
    # Others in the pool may have been ended as well; then comes a new one.
    for _ in range(_LARGEST_POOL):
        driver = connection.connection.driver_connection
        if not isinstance(driver, psycopg.Connection | psycopg.AsyncConnection):
            break
        if not has_ended(driver):
            if pooler:
                driver.prepare_threshold = None
            break
        connection.invalidate()
        # Not this one connected again: that would not be in autocommit.
        connection.close()
        connection = engine.connect()
    with connection:
        yield connection


class _Rows:
    """As much of SQLAlchemy's result as a Querier reads."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def first(self) -> Any:
        return self._rows[0] if self._rows else None


class _Bridge:
    """As much of SQLAlchemy's connection as a Querier uses, straight on psycopg.

    For a caller's connection, as an engine around it would take it for its own: set it up, and roll it
    back. For one of the pool, as SQLAlchemy's execution takes longer than psycopg's.

    Args:
        cursor: Makes a cursor of the connection.
    """

    def __init__(
        self, cursor: Callable[[], psycopg.Cursor[Any]] | Callable[[], psycopg.AsyncCursor[Any]]
    ) -> None:
        self._cursor: Callable[[], Any] = cursor

    @property
    def driver(self) -> Driver:
        """The connection itself."""
        driver: Driver = self._cursor().connection
        return driver

    def execute(self, statement: TextClause, values: Mapping[str, Any] | None = None) -> _Rows:
        try:
            return self._execute(statement, values)
        except UntranslatableCharacter as error:
            # It failed as a whole, so that it may be sent again.
            encoding = native_encoding(self.driver, error)
            if encoding is None:
                raise
        session = cast("Connection", self)
        prepare_session(session, {"client_encoding": encoding})
        try:
            return self._execute(statement, values, is_native=True)
        finally:
            prepare_session(session, {"client_encoding": "UTF8"})

    def _execute(
        self,
        statement: TextClause,
        values: Mapping[str, Any] | None,
        *,
        is_native: bool = False,
    ) -> _Rows:
        raise NotImplementedError


class _Psycopg(_Bridge):
    """The bridge to a synchronous connection."""

    def _execute(
        self,
        statement: TextClause,
        values: Mapping[str, Any] | None,
        *,
        is_native: bool = False,
    ) -> _Rows:
        with self._cursor() as cursor:
            cursor.execute(_compiled(statement.text), values)
            if not cursor.description:
                return _Rows(())
            if is_native:
                register_native_loaders(cursor)
                return _Rows(_read_one_by_one(cursor))
            try:
                return _Rows(cursor.fetchall())
            except (psycopg.DataError, ValueError):
                return _Rows(_read_one_by_one(cursor))


class _AsyncPsycopg(_Bridge):
    """The bridge to an async connection; runs in a greenlet, as SQLAlchemy's own do."""

    def _execute(
        self,
        statement: TextClause,
        values: Mapping[str, Any] | None,
        *,
        is_native: bool = False,
    ) -> _Rows:
        return await_only(self._execute_async(statement, values, is_native))

    async def _execute_async(
        self, statement: TextClause, values: Mapping[str, Any] | None, is_native: bool
    ) -> _Rows:
        async with self._cursor() as cursor:
            await cursor.execute(_compiled(statement.text), values)
            if not cursor.description:
                return _Rows(())
            if is_native:
                register_native_loaders(cursor)
                return _Rows(_read_one_by_one(cursor))
            try:
                return _Rows(await cursor.fetchall())
            except (psycopg.DataError, ValueError):
                return _Rows(_read_one_by_one(cursor))


def _neutral(cursor: C) -> C:
    """A cursor of this module's own making, which reads JSON as taskq does.

    A caller's connection may have a class of cursor that takes parameters of another style, and read JSON
    in a way of its own, as Django's does.
    """
    cursor.adapters.register_loader("jsonb", _JsonLoader)
    return cursor


class _JsonLoader(Loader):
    """Makes an ``UnreadableJson`` of JSON that Python cannot read."""

    def load(self, data: Buffer) -> Any:
        return read_json(bytes(data))


class _TimeLoader(TimestamptzLoader):
    """Makes an ``UnreadableTime`` of a time that Python cannot hold."""

    def load(self, data: Buffer) -> datetime:
        try:
            return super().load(data)
        except (psycopg.DataError, ValueError, OverflowError) as error:
            # What it says after the reason is the time itself.
            reason, _, _ = str(error).partition(": ")
            return UnreadableTime.of(bytes(data).decode(errors="replace"), reason)


def _read_one_by_one(cursor: psycopg.Cursor[Any] | psycopg.AsyncCursor[Any]) -> list[Any]:
    """What a cursor has fetched, where one of the values cannot be read.

    Read once more, rather than to let Python read every time of every row: it takes five times as long.
    """
    cursor.adapters.register_loader("timestamptz", _TimeLoader)
    values = Transformer(cursor)
    result = cursor.pgresult
    assert result is not None  # noqa: S101 - there is a description
    values.set_pgresult(result)
    return values.load_rows(0, result.ntuples, tuple)


@contextmanager
def reading(connection: Connection) -> Iterator[Connection]:
    """Have a SQLAlchemy connection of a caller's read rows as taskq does, until the end of the block.

    Only one on psycopg; what other drivers cannot read, they refuse.
    """
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection | psycopg.AsyncConnection):
        yield connection
        return
    adapters = driver.adapters
    before = [adapters.get_loader(adapters.types[name].oid, Format.TEXT) for name in _READ]
    adapters.register_loader("jsonb", _JsonLoader)
    adapters.register_loader("timestamptz", _TimeLoader)
    try:
        yield connection
    finally:
        for name, loader in zip(_READ, before, strict=True):
            if loader is not None:
                adapters.register_loader(name, loader)


# By the text, as sqlc-gen-python makes a new object of it for each call.
@lru_cache(maxsize=256)
def _compiled(statement: str) -> bytes:
    return str(text(statement).compile(dialect=_dialect)).encode()


def _unusable(connection: object, wanted: str) -> InvalidDatabase:
    return InvalidDatabase(f"a {type(connection).__name__} cannot carry this: give {wanted}")
