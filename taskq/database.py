"""Which database taskq works on: the one place where that is decided."""

import asyncio
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from taskq.database_url import DRIVER, database_url
from taskq.embedded import FOLDER_VARIABLE, EmbeddedServer, default_folder, is_installed
from taskq.exceptions import DatabaseNotConfigured, InvalidDatabase
from taskq.unreadable import read_json

URL_VARIABLE = "TASKQ_DATABASE_URL"

# Those of libpq's variables that say which server or database; the others say who, or how;
# each with the parameter that it stands for.
LIBPQ_VARIABLES = {
    "PGHOST": "host",
    "PGHOSTADDR": "hostaddr",
    "PGPORT": "port",
    "PGDATABASE": "dbname",
    "PGSERVICE": "service",
}

# What of a URL's query is shown. libpq takes secrets by several names, and may learn more.
_SHOWN_PARAMETERS = {"host", "hostaddr", "port", "dbname", "user", "service"}

# A server that goes without a word (its machine lost, a fail-over) is missed after half a minute. By
# themselves the kernel and the driver wait for a quarter of an hour to write to it, and for two hours
# to hear from it.
_STEADY = {
    "connect_timeout": "10",  # seconds, as the next three
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",  # milliseconds
}

# How an engine's database was named, for messages.
_GIVEN = "whose engine was given"

# One statement is one round trip; whoever wants a transaction begins one.
_AUTOCOMMIT = "AUTOCOMMIT"

# By which a connection of these engines is known from a caller's own.
_OWN = "taskq_own"

_OPTIONS: Mapping[str, Any] = {
    "isolation_level": _AUTOCOMMIT,
    "execution_options": {_OWN: True},
    # So there is nothing to roll back when a connection goes back to the pool.
    "skip_autocommit_rollback": True,
    # The one that was used last has everything planned; with a first call of each it takes milliseconds.
    "pool_use_lifo": True,
    "json_deserializer": read_json,
}


class Database:
    """The engines of one database, which ``resolve`` finds. They are made when first asked for."""

    def __init__(
        self,
        source: URL | EmbeddedServer,
        *,
        origin: str = "which was given",
        engine: Engine | None = None,
        async_engine: AsyncEngine | None = None,
    ) -> None:
        # Where it was named, for messages.
        self.origin = origin
        self._source = source
        self._given = engine
        self._given_async = async_engine
        self._made: Engine | None = None
        self._made_async: AsyncEngine | None = None
        self._making = threading.Lock()

    @classmethod
    def resolve(
        cls,
        database: str | URL | Engine | AsyncEngine | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        embedded_name: str | None = None,
    ) -> Self:
        """Find out which database is meant; connects to nothing and starts nothing yet.

        Without ``database`` it is the first of: the one that ``TASKQ_DATABASE_URL`` names; the one
        that libpq's variables name, of which one of ``PGHOST``, ``PGHOSTADDR``, ``PGPORT``,
        ``PGDATABASE`` and ``PGSERVICE`` is set; the embedded server of the calling code's project, if its
        extra is installed. A variable that is empty counts as not set.

        Args:
            database: A URL that begins with ``postgresql://``, ``postgres://`` or
                ``postgresql+psycopg://``, which may name several hosts as libpq's do; libpq's
                ``key=value`` pairs; or an engine on psycopg. A given engine stays its
                owner's: it is used in autocommit here, not changed, and never disposed. If the engine of
                the other colour is asked for, it is made from the given one's URL alone.
            environ: The environment to look in.
            embedded_name: What an embedded server is for, in place of the calling code's project.

        Raises:
            InvalidDatabase: ``database`` or ``TASKQ_DATABASE_URL`` is not a URL of PostgreSQL, or
                not for psycopg.
            DatabaseNotConfigured: No database is named, and there is no embedded server.
        """
        if isinstance(database, Engine):
            url = _url_of(database)
            options = {"isolation_level": _AUTOCOMMIT, _OWN: True}
            return cls(url, origin=_GIVEN, engine=database.execution_options(**options))
        if isinstance(database, AsyncEngine):
            url = _url_of(database.sync_engine)
            options = {"isolation_level": _AUTOCOMMIT, _OWN: True}
            return cls(url, origin=_GIVEN, async_engine=database.execution_options(**options))
        if database is not None:
            return cls(database_url("the database", database))
        if named := environ.get(URL_VARIABLE):
            return cls(database_url(URL_VARIABLE, named), origin=f"named by {URL_VARIABLE}")
        if variables := [name for name in LIBPQ_VARIABLES if environ.get(name)]:
            return cls(URL.create(DRIVER), origin=f"named by {', '.join(variables)}")
        if is_installed():
            server = EmbeddedServer(default_folder(environ, name=embedded_name))
            named = f"named by {FOLDER_VARIABLE}" if environ.get(FOLDER_VARIABLE) else ""
            return cls(server, origin=named or "taken as no other one is named")
        *others, last = LIBPQ_VARIABLES
        raise DatabaseNotConfigured(
            "no database is named: give one as an argument, set "
            f"{URL_VARIABLE} to a URL such as postgresql://user@host/name, set PostgreSQL's own "
            f"{', '.join(others)} or {last}, "
            "or get a server with pip install 'taskq-sql[embedded]'"
        )

    @property
    def engine(self) -> Engine:
        """The engine for synchronous code, in autocommit.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not start.
        """
        if self._given is not None:
            return self._given
        with self._making:
            if self._made is None:
                self._made = create_engine(self._reach(), **_OPTIONS)
            return self._made

    @property
    def async_engine(self) -> AsyncEngine:
        """The engine for asynchronous code, in autocommit.

        An embedded server starts here, which takes about a second when it is new, and less later.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not start.
        """
        if self._given_async is not None:
            return self._given_async
        with self._making:
            if self._made_async is None:
                self._made_async = create_async_engine(self._reach(), **_OPTIONS)
            return self._made_async

    def made(self, engine: Engine) -> bool:
        """Whether an engine was made here, and is no caller's."""
        made = self._made_async
        return engine is self._made or (made is not None and engine is made.sync_engine)

    def close(self) -> None:
        """Dispose the engines made here, and leave an embedded server. Does nothing twice.

        Where an event loop runs, ``await close_async()`` instead. A closed database opens again
        when one of its engines is asked for.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not stop.
        """
        if made := self._take_async():
            asyncio.run(made.dispose())
        self._close_sync()

    async def close_async(self) -> None:
        """Do what ``close`` does, where an event loop runs.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not stop.
        """
        await self.dispose_async()
        await asyncio.to_thread(self._close_sync)

    async def dispose_async(self) -> None:
        """Dispose the async engine alone, if it was made here: before its event loop ends."""
        if made := self._take_async():
            await made.dispose()

    @property
    def embedded_folder(self) -> Path | None:
        """Where the embedded server keeps its files; None if it is another server."""
        return self._source.folder if isinstance(self._source, EmbeddedServer) else None

    def libpq_parameters(self) -> dict[str, str]:
        """What libpq, and so ``psql``, has to be told to connect, by its own names; with the password.

        What is not in it is what libpq's variables say. An embedded server starts here.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not start.
        """
        url = self._reach() if isinstance(self._source, EmbeddedServer) else self._source
        _, parameters = self.engine.dialect.create_connect_args(url)
        # What else is in it is for psycopg alone.
        return {k: str(value) for k, value in parameters.items() if isinstance(value, str | int)}

    def __repr__(self) -> str:
        folder = self.embedded_folder
        return f"<Database {self if folder is None else f'embedded in {str(folder)!r}'}>"

    def __str__(self) -> str:
        """Which one it is, without its password."""
        if isinstance(self._source, EmbeddedServer):
            return f"embedded in {self._source.folder}"
        shown = {
            name: value for name, value in self._source.query.items() if name in _SHOWN_PARAMETERS
        }
        if self._source == URL.create(DRIVER):
            # All is said by libpq's own variables.
            shown = {
                parameter: os.environ[variable]
                for variable, parameter in LIBPQ_VARIABLES.items()
                if os.environ.get(variable)
            }
        return self._source.set(query=shown).render_as_string(hide_password=True)

    def _reach(self) -> URL:
        if isinstance(self._source, EmbeddedServer):
            return make_url(self._source.start())
        # What the user says, in the URL or by libpq's own variable, holds.
        unsaid = {
            name: value
            for name, value in _STEADY.items()
            if not (name == "connect_timeout" and os.environ.get("PGCONNECT_TIMEOUT"))
        }
        return self._source.set(query={**unsaid, **self._source.query})

    def _take_async(self) -> AsyncEngine | None:
        with self._making:
            made, self._made_async = self._made_async, None
        return made

    def _close_sync(self) -> None:
        with self._making:
            made, self._made = self._made, None
        if made is not None:
            made.dispose()
        if isinstance(self._source, EmbeddedServer):
            self._source.stop()


def is_own(connection: Connection) -> bool:
    """Whether a connection is one of a ``Database``'s own engines."""
    return bool(connection.get_execution_options().get(_OWN))


def _url_of(engine: Engine) -> URL:
    driver = f"{engine.dialect.name}+{engine.dialect.driver}"
    if driver != DRIVER:
        raise InvalidDatabase(
            f"the engine is for {driver}, and taskq needs {DRIVER}: make it with "
            f"create_engine('{DRIVER}://user@host/name')"
        )
    return engine.url.set(drivername=DRIVER)
