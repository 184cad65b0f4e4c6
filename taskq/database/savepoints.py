"""A caller's own transaction, which is as it was if an operation in it fails.

PostgreSQL takes nothing more in a transaction in which a statement failed, and answers its COMMIT with a
rollback. So an operation on a caller's connection is in a savepoint, which costs two round trips: also one
that only reads, as it may fail too. It costs none where nothing of the caller's can be lost: in autocommit,
and on a psycopg connection whose transaction the operation itself begins.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, cast

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection

from taskq.database.engines import is_own
from taskq.exceptions import InvalidDatabase


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo what is done on a SQLAlchemy connection, and no more, if it fails.

    Of the connection below a session, whose objects know nothing of it: a session's own ``begin_nested``
    would flush and expire them.

    Raises:
        InvalidDatabase: It is in a pipeline, or of the app's own engine, in autocommit.
    """
    refuse_pipeline(connection.connection.driver_connection)
    refuse_own(connection)
    if _in_autocommit(connection):
        yield
        return
    with connection.begin_nested():
        yield


@contextmanager
def psycopg_savepoint(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Undo what is done on a psycopg connection, and no more, if it fails.

    Raises:
        InvalidDatabase: It is in a pipeline.
    """
    refuse_pipeline(connection)
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        with connection.transaction():
            yield
        return
    try:
        yield
    except BaseException:
        # In autocommit there is nothing to roll back; else the transaction holds what failed alone.
        with suppress(psycopg.Error):
            connection.rollback()
        raise


@asynccontextmanager
async def async_psycopg_savepoint(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """The same for an async psycopg connection.

    Raises:
        InvalidDatabase: It is in a pipeline.
    """
    refuse_pipeline(connection)
    if connection.info.transaction_status is not TransactionStatus.IDLE:
        async with connection.transaction():
            yield
        return
    try:
        yield
    except BaseException:
        with suppress(psycopg.Error):
            await connection.rollback()
        raise


def refuse_own(connection: Connection) -> None:
    """Refuse a connection of the app's own engine, in autocommit.

    Raises:
        InvalidDatabase: It is one.
    """
    if is_own(connection) and _in_autocommit(connection):
        raise InvalidDatabase(
            "this connection or session is on the app's own engine, which is in autocommit: rolling "
            "it back would undo nothing. Make it on the engine that you gave the app, or, if you gave "
            "none, on app.database.engine.execution_options(isolation_level='READ COMMITTED'); or give none"
        )


def _in_autocommit(connection: Connection) -> bool:
    opened = cast("DBAPIConnection", connection.connection.dbapi_connection)
    return connection.dialect.detect_autocommit_setting(opened)


def refuse_pipeline(connection: object) -> None:
    """Refuse a psycopg connection in a pipeline.

    Raises:
        InvalidDatabase: It is in one.
    """
    # An operation reads what its statements answer, and in a pipeline they answer later. To end the
    # caller's batch here would commit a part of it, where it is in autocommit.
    if (
        isinstance(connection, psycopg.Connection | psycopg.AsyncConnection)
        and connection.pgconn.pipeline_status != PipelineStatus.OFF
    ):
        raise InvalidDatabase(
            "the connection is in a pipeline(), in which a statement is answered later: call this outside of "
            "the block, or give another connection"
        )
