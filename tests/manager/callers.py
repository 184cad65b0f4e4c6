"""Callers with connections and sessions of every kind, and transactions of their own in them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from taskq import App
from taskq.deferrer import Deferrer
from taskq.task import Task


@dataclass
class Caller:
    """A caller with a transaction of its own, to be awaited whether it is sync or async."""

    app: App
    connection: Any
    is_async: bool

    async def defer(self, by: Task[..., Any] | Deferrer[..., Any], **kwargs: Any) -> int | None:
        deferrer = by.configure(connection=self.connection)
        id_: int | None
        id_ = await deferrer.defer_async(**kwargs) if self.is_async else deferrer.defer(**kwargs)
        return id_

    async def manage(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        name = f"{operation}_async" if self.is_async else operation
        jobs = self.app.job_manager.on(self.connection)
        answer = getattr(jobs, name)(*args, **kwargs)
        return await answer if self.is_async else answer

    async def execute(self, statement: str) -> Any:
        is_psycopg = isinstance(self.connection, psycopg.Connection | psycopg.AsyncConnection)
        done = self.connection.execute(statement if is_psycopg else text(statement))
        return await done if self.is_async else done

    async def commit(self) -> None:
        await self._end(self.connection.commit)

    async def rollback(self) -> None:
        await self._end(self.connection.rollback)

    async def _end(self, end: Callable[[], Awaitable[None] | None]) -> None:
        ended = end()
        if self.is_async:
            assert ended is not None
            await ended


Connect = Callable[[str], AbstractAsyncContextManager[Any]]


def libpq(url: str) -> str:
    return url.replace("+psycopg", "")


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[Any]:
    engine = create_engine(url)
    with engine.connect() as opened:
        yield opened
    engine.dispose()


@asynccontextmanager
async def session(url: str) -> AsyncIterator[Any]:
    engine = create_engine(url)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@asynccontextmanager
async def psycopg_connection(url: str) -> AsyncIterator[Any]:
    with psycopg.connect(libpq(url)) as opened:
        yield opened


@asynccontextmanager
async def async_connection(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url)
    async with engine.connect() as opened:
        yield opened
    await engine.dispose()


@asynccontextmanager
async def async_session(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url)
    async with AsyncSession(engine) as opened:
        yield opened
    await engine.dispose()


@asynccontextmanager
async def async_psycopg_connection(url: str) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(libpq(url)) as opened:
        yield opened


@asynccontextmanager
async def psycopg2_session(url: str) -> AsyncIterator[Any]:
    async with session(url.replace("+psycopg", "+psycopg2")) as opened:
        yield opened


@asynccontextmanager
async def asyncpg_session(url: str) -> AsyncIterator[Any]:
    async with async_session(url.replace("+psycopg", "+asyncpg")) as opened:
        yield opened


@asynccontextmanager
async def sessions(url: str) -> AsyncIterator[Any]:
    engine = create_engine(url)
    opened = scoped_session(sessionmaker(engine))
    yield opened
    opened.remove()
    engine.dispose()


@asynccontextmanager
async def async_sessions(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url)
    opened = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: None)
    yield opened
    await opened.remove()
    await engine.dispose()


SYNC: list[Connect] = [connection, session, psycopg_connection, psycopg2_session, sessions]
ASYNC: list[Connect] = [
    async_connection,
    async_session,
    async_psycopg_connection,
    asyncpg_session,
    async_sessions,
]
