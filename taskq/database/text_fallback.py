"""Rows on a caller's connection of another driver than psycopg: what the driver cannot read is read as text.

One value that a driver cannot read costs it the whole result. How it reads belongs to the caller, and asyncpg
does not say what was set, so that it could be put back: therefore nothing is set. The statement is sent
again, inside of one that makes text of its JSON and its times. What can be read costs no round trip more.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any

from psycopg.errors import FeatureNotSupported
from psycopg.postgres import types
from sqlalchemy import (
    Connection,
    CursorResult,
    Select,
    Text,
    TextClause,
    cast,
    column,
    literal_column,
    select,
)
from sqlalchemy.exc import DBAPIError

from taskq.database.bridges import Fetched, TimeLoader
from taskq.database.errors import as_psycopg
from taskq.database.savepoints import savepoint
from taskq.exceptions import UnreadableValue
from taskq.queries.connection import Bridge, Rows
from taskq.unreadable import read_json

_TIME = types["timestamptz"].oid
_load_time = TimeLoader(_TIME).load

# How the text is read, by the oid of the type.
_READERS: Mapping[object, Callable[[str], Any]] = {
    types["jsonb"].oid: read_json,
    _TIME: lambda text: _load_time(text.encode()),
}


class TextFallback(Bridge):
    """The bridge to a connection of SQLAlchemy's, whatever its driver.

    Args:
        connection: A caller's.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def driver(self) -> object:
        """The driver's connection."""
        return self._connection.connection.driver_connection

    def execute(
        self, statement: TextClause, parameters: Mapping[str, Any] | None = None, /
    ) -> Rows:
        try:
            result = self._connection.execute(statement, parameters)
            if not result.returns_rows:
                return Fetched(())
            times = [place for place, (_, oid) in enumerate(_columns(result)) if oid == _TIME]
            rows: Sequence[Any] = result.all()
        except (ValueError, ArithmeticError, RecursionError) as error:
            again = self._read_as_text(statement, parameters)
            if again is None:
                raise UnreadableValue(
                    f"{self._connection.dialect.driver} cannot read a value of a row ({error}), and a "
                    "statement that changes rows is not sent again: give a connection on psycopg"
                ) from error
            return Fetched(again)
        if not all(_is_time(row[place]) for row in rows for place in times):
            again = self._read_as_text(statement, parameters)
            return Fetched(rows if again is None else again)
        return Fetched(rows)

    def _read_as_text(
        self, statement: TextClause, parameters: Mapping[str, Any] | None
    ) -> Sequence[Any] | None:
        """Read the rows of a statement once more; None if it changes rows, and was not sent again."""
        query = statement.columns().subquery("query")
        try:
            with savepoint(self._connection):
                nothing: Select[Any] = select(literal_column("*")).select_from(query).limit(0)
                columns = _columns(self._connection.execute(nothing, parameters))
        except DBAPIError as error:
            # PostgreSQL takes what changes rows as the outermost statement alone.
            if isinstance(as_psycopg(error.orig), FeatureNotSupported):
                return None
            raise
        readers = [_READERS.get(oid) for _, oid in columns]
        as_text = [
            cast(column(name), Text) if reader else column(name)
            for (name, _), reader in zip(columns, readers, strict=True)
        ]
        return [
            [
                reader(value) if reader and value is not None else value
                for value, reader in zip(row, readers, strict=True)
            ]
            for row in self._connection.execute(select(*as_text).select_from(query), parameters)
        ]


def _columns(result: CursorResult[Any]) -> list[tuple[str, object]]:
    """The names and types of the columns of a result that was not read yet."""
    assert result.cursor is not None  # noqa: S101 - it returns rows, be they none
    return [(name, oid) for name, oid, *_ in result.cursor.description or ()]


def _is_time(value: object) -> bool:
    """Whether a driver has read a time, or null.

    Of infinity drivers make the first and the last time that Python has; and by a caller's own codec it may
    be anything.
    """
    return value is None or (isinstance(value, datetime) and MINYEAR < value.year < MAXYEAR)
