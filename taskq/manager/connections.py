"""The connections that callers bring, made into what a Querier runs on."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session

from taskq.exceptions import InvalidDatabase

P = ParamSpec("P")
T = TypeVar("T")

SyncConnection = Connection | Session
AnyConnection = SyncConnection | AsyncConnection | AsyncSession


def run(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's connection or session."""
    if isinstance(connection, Session):
        return operation(connection.connection(), *args, **kwargs)
    if isinstance(connection, Connection):
        return operation(connection, *args, **kwargs)
    raise _unusable(connection, "Connection or Session; for an async one use the async method")


async def run_async(
    connection: AnyConnection,
    operation: Callable[Concatenate[Connection, P], T],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Run an operation in the transaction of a caller's async connection or session."""
    if isinstance(connection, AsyncSession):
        connection = await connection.connection()
    if isinstance(connection, AsyncConnection):
        return await connection.run_sync(operation, *args, **kwargs)
    raise _unusable(
        connection, "AsyncConnection or AsyncSession; for a sync one use the sync method"
    )


def _unusable(connection: object, wanted: str) -> InvalidDatabase:
    return InvalidDatabase(f"a {type(connection).__name__} cannot carry this: give a {wanted}")
