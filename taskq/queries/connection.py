"""What the queries run on: a connection of SQLAlchemy's, or a bridge to one of a driver's.

A generated Querier declares SQLAlchemy's connection, and uses no more of it than a bridge has.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import psycopg
import sqlalchemy

Q = TypeVar("Q")
Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]


class Rows(Protocol):
    """As much of SQLAlchemy's result as a Querier reads."""

    def __iter__(self) -> Iterator[Any]: ...

    def first(self) -> Any: ...


class Bridge(ABC):
    """As much of SQLAlchemy's connection as a Querier uses."""

    @property
    @abstractmethod
    def driver(self) -> object:
        """The driver's connection."""

    @abstractmethod
    def execute(
        self, statement: sqlalchemy.TextClause, parameters: Mapping[str, Any] | None = None, /
    ) -> Rows:
        """Execute a statement."""


Connection = sqlalchemy.Connection | Bridge


def on_any(querier: Callable[..., Q]) -> Callable[[Connection], Q]:
    """A generated Querier as one that takes whatever the queries run on."""
    return querier


def driver_of(connection: Connection) -> Driver | None:
    """The psycopg connection below; None if it is another driver's."""
    driver = (
        connection.driver
        if isinstance(connection, Bridge)
        else connection.connection.driver_connection
    )
    return driver if isinstance(driver, psycopg.Connection | psycopg.AsyncConnection) else None
