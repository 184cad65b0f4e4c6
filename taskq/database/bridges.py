"""Bridges straight to a connection of psycopg's."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader, Transformer
from psycopg.errors import UntranslatableCharacter
from psycopg.pq import Format
from psycopg.types.datetime import TimestamptzLoader
from sqlalchemy import TextClause, text
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.util import await_only

from taskq.queries.connection import Bridge, Driver, Rows
from taskq.queries.encodings import native_encoding, register_native_loaders
from taskq.queries.session import prepare_session
from taskq.unreadable import UnreadableTime, read_json

C = TypeVar("C", bound=psycopg.Cursor[Any] | psycopg.AsyncCursor[Any])

_dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]

# psycopg's own, and the fast one if it is there.
_time_loader = psycopg.adapters.get_loader(psycopg.adapters.types["timestamptz"].oid, Format.TEXT)


def bridge(driver: Driver) -> Bridge:
    """The bridge to a psycopg connection of taskq's own; to an async one, to be used in a greenlet."""
    if isinstance(driver, psycopg.AsyncConnection):
        return AsyncPsycopgBridge(driver.cursor)
    return PsycopgBridge(driver.cursor)


class Fetched:
    """Rows that were fetched."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def first(self) -> Any:
        return self._rows[0] if self._rows else None


class PsycopgBridge(Bridge):
    """The bridge to a connection of psycopg's.

    For a caller's connection, as an engine around it would take it for its own: set it up, and roll it
    back. For one of the pool, as SQLAlchemy's execution takes longer than psycopg's.

    Args:
        cursor: Makes a cursor of the connection.
    """

    def __init__(self, cursor: Callable[[], Any]) -> None:
        self._cursor = cursor

    @property
    def driver(self) -> Driver:
        """The connection itself."""
        driver: Driver = self._cursor().connection
        return driver

    def execute(
        self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /
    ) -> Rows:
        try:
            return self._execute(statement, parameters)
        except UntranslatableCharacter as error:
            # It failed as a whole, so that it may be sent again.
            encoding = native_encoding(self.driver, error)
            if encoding is None:
                raise
        prepare_session(self, {"client_encoding": encoding})
        try:
            return self._execute(statement, parameters, is_native=True)
        finally:
            prepare_session(self, {"client_encoding": "UTF8"})

    def _execute(
        self,
        statement: TextClause,
        values: Mapping[str, Any] | None,
        *,
        is_native: bool = False,
    ) -> Rows:
        # Not closed: a cursor of this kind has nothing on the server, and is gone when its rows are read.
        cursor = self._cursor()
        self._send(cursor, _compiled(statement.text), values)
        # None without rows. Its description makes an object of each column: 135 calls for those of a claim.
        if cursor.rownumber is None:
            return Fetched(())
        if is_native:
            register_native_loaders(cursor)
            return Fetched(_read_one_by_one(cursor))
        try:
            return Fetched(self._wait(cursor.fetchall()))
        except (psycopg.DataError, ValueError):
            return Fetched(_read_one_by_one(cursor))

    def _send(self, cursor: Any, statement: bytes, values: Mapping[str, Any] | None) -> None:
        self._wait(cursor.execute(statement, values))

    def _wait(self, answer: Any) -> Any:
        return answer


class AsyncPsycopgBridge(PsycopgBridge):
    """The same to an async one; runs in a greenlet, as SQLAlchemy's own do."""

    def _wait(self, answer: Any) -> Any:
        return await_only(answer)


def neutral(cursor: C) -> C:
    """A cursor of this module's own making, which reads JSON and times as taskq does.

    A caller's connection may have a class of cursor that takes parameters of another style, and read these
    in a way of its own, as Django's does: times without their zone, if ``USE_TZ`` is off.
    """
    cursor.adapters.register_loader("jsonb", JsonLoader)
    if _time_loader is not None:
        cursor.adapters.register_loader("timestamptz", _time_loader)
    return cursor


class JsonLoader(Loader):
    """Makes an ``UnreadableJson`` of JSON that Python cannot read."""

    def load(self, data: Buffer) -> Any:
        return read_json(bytes(data))


class TimeLoader(TimestamptzLoader):
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
    cursor.adapters.register_loader("timestamptz", TimeLoader)
    values = Transformer(cursor)
    result = cursor.pgresult
    assert result is not None  # noqa: S101 - there is a description
    values.set_pgresult(result)
    return values.load_rows(0, result.ntuples, tuple)


# By the text, as sqlc-gen-python makes a new object of it for each call.
@lru_cache(maxsize=256)
def _compiled(statement: str) -> bytes:
    return str(text(statement).compile(dialect=_dialect)).encode()
