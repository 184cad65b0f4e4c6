"""Blocks for whose time an app is open, or on another database."""

from collections.abc import Generator
from typing import Any, Generic, Protocol, TypeVar

from taskq.database.database import Database, LazyDatabase


class OpenableApp(Protocol):
    """An app, whose module is above this one."""

    async def close_async(self) -> None:
        """Close what it opened."""
        ...

    def move(self, database: Database | LazyDatabase) -> LazyDatabase:
        """Put it on another database; returns the one that it was on."""
        ...


AppT = TypeVar("AppT", bound=OpenableApp)


class OpenedApp(Generic[AppT]):
    """What ``App.open_async`` answers: it is awaited, or entered and closed at the end."""

    def __init__(self, app: AppT) -> None:
        self._app = app

    def __await__(self) -> Generator[Any, None, AppT]:
        return self.__aenter__().__await__()

    async def __aenter__(self) -> AppT:
        return self._app

    async def __aexit__(self, *raised: object) -> None:
        await self._app.close_async()


class ReplacedDatabase(Generic[AppT]):
    """A block in which an app is on another database; ``App.replace_database`` makes it."""

    def __init__(self, app: AppT, database: Database) -> None:
        self._app = app
        self._database = database
        self._left: list[LazyDatabase] = []

    def __enter__(self) -> AppT:
        self._left.append(self._app.move(self._database))
        return self._app

    def __exit__(self, *raised: object) -> None:
        self._app.move(self._left.pop()).get().close()

    async def __aenter__(self) -> AppT:
        return self.__enter__()

    async def __aexit__(self, *raised: object) -> None:
        await self._app.move(self._left.pop()).get().close_async()
