"""Which database taskq works on: the one place where that is decided."""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Self
from weakref import WeakSet

from sqlalchemy import URL, Engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from taskq.database.connection import DedicatedConnection
from taskq.database.engines import OWN_OPTIONS, leave_to_parent, make_async_engine, make_engine
from taskq.database.loop_pool import LoopPool
from taskq.database.notifier import Notifier
from taskq.database.session_settings import SESSION_SETTINGS
from taskq.database.url import DRIVER, database_url, without_pooler
from taskq.database.waiters import Waiters
from taskq.embedded import FOLDER_VARIABLE, EmbeddedServer, default_folder, is_installed
from taskq.exceptions import DatabaseNotConfigured, InvalidDatabase
from taskq.messages import short_repr
from taskq.queries.session import prepare_session

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

# How an engine's database was named, for messages.
_GIVEN = "whose engine was given"

_databases: "WeakSet[Database | LazyDatabase]" = WeakSet()


class Database:
    """The engines of one database, which ``resolve`` finds. They are made when first asked for.

    They may be used in any thread and in any event loop; each loop has connections of its own, which are
    closed when it ends. A process that is forked off makes connections of its own, too.

    Attributes:
        pooler: Whether a pooler stands between that does not keep sessions.
    """

    def __init__(
        self,
        source: URL | EmbeddedServer,
        *,
        origin: str = "which was given",
        engine: Engine | None = None,
        async_engine: AsyncEngine | None = None,
        pooler: bool = False,
    ) -> None:
        # Where it was named, for messages.
        self.origin = origin
        self.pooler = pooler
        self._source = source
        self._given = engine
        self._given_async = async_engine
        self._made: Engine | None = None
        self._made_async: AsyncEngine | None = None
        self._making = threading.Lock()
        self._notifier = Notifier(partial(self._make_connection, "notifications"))
        # Who waits for jobs of this database.
        self.waiters: Waiters = Waiters(self._notifier)
        self._direct: dict[str, Self] = {}
        _databases.add(self)

    @classmethod
    def resolve(
        cls,
        database: str | URL | Engine | AsyncEngine | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        embedded_name: str | None = None,
        pooler: bool | None = None,
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
            environ: The environment.
            embedded_name: What an embedded server is for, in place of the calling code's project.
            pooler: Whether a pooler stands between that does not keep sessions, such as PgBouncer in
                transaction mode. Then nothing is prepared on sessions, nothing is set on them, and no
                notification comes through them. None: what the URL says, as in ``?pooler=true``.

        Raises:
            InvalidDatabase: ``database`` or ``TASKQ_DATABASE_URL`` is not a URL of PostgreSQL, or
                not for psycopg.
            DatabaseNotConfigured: No database is named, and there is no embedded server.
        """
        check_pooler(pooler)
        if isinstance(database, Engine):
            engine = database.execution_options(**OWN_OPTIONS)
            return cls(_url_of(database), origin=_GIVEN, engine=engine, pooler=bool(pooler))
        if isinstance(database, AsyncEngine):
            async_engine = database.execution_options(**OWN_OPTIONS)
            url = _url_of(database.sync_engine)
            return cls(url, origin=_GIVEN, async_engine=async_engine, pooler=bool(pooler))
        if database is not None:
            return cls._at("the database", database, pooler)
        if named := environ.get(URL_VARIABLE):
            return cls._at(URL_VARIABLE, named, pooler, origin=f"named by {URL_VARIABLE}")
        if variables := [name for name in LIBPQ_VARIABLES if environ.get(name)]:
            origin = f"named by {', '.join(variables)}"
            return cls(URL.create(DRIVER), origin=origin, pooler=bool(pooler))
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

    @classmethod
    def _at(
        cls,
        name: str,
        database: str | URL,
        pooler: bool | None,
        *,
        origin: str = "which was given",
    ) -> Self:
        database, said = without_pooler(name, database)
        url = database_url(name, database)
        return cls(url, origin=origin, pooler=bool(said if pooler is None else pooler))

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
                self._made = make_engine(self._reach(), pooler=self.pooler)
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
                self._made_async = make_async_engine(self._reach(), pooler=self.pooler)
            return self._made_async

    def made(self, engine: Engine) -> bool:
        """Whether an engine was made here, and is no caller's."""
        made = self._made_async
        return engine is self._made or (made is not None and engine is made.sync_engine)

    @property
    def notifier(self) -> Notifier:
        """Hands on the notifications of this database; it connects as long as anyone subscribes.

        Raises:
            InvalidDatabase: A pooler stands between that does not keep sessions.
        """
        if self.pooler:
            raise InvalidDatabase(
                "no notification comes through a pooler that does not keep sessions: subscribe by a URL past "
                "it, as in database.direct(url).notifier"
            )
        return self._notifier

    def direct(self, url: str) -> Self:
        """The same database by another URL, past a pooler; one for each URL.

        Raises:
            InvalidDatabase: It is not a URL of PostgreSQL, or not for psycopg.
        """
        with self._making:
            if url not in self._direct:
                self._direct[url] = self.resolve(url, pooler=False)
            return self._direct[url]

    def close(self) -> None:
        """Dispose the engines made here, and leave an embedded server. Does nothing twice.

        Where an event loop runs, ``await close_async()`` does not block it meanwhile. A closed database
        opens again when one of its engines is asked for.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not stop.
        """
        self._close_async_engine()
        self._close_sync()

    async def close_async(self) -> None:
        """Do what ``close`` does, where an event loop runs.

        Raises:
            EmbeddedServerError: It is the embedded server, and that does not stop.
        """
        self._close_async_engine()
        await asyncio.to_thread(self._close_sync)

    async def dispose_async(self) -> None:
        """Close the connections of the running event loop, if they were made here, before it ends.

        ``asyncio.run`` does so by itself.
        """
        if (made := self._made_async) and isinstance(made.pool, LoopPool):
            made.pool.dispose_loop()

    @property
    def embedded_folder(self) -> Path | None:
        """Where the embedded server keeps its files; None if it is another server."""
        return self._source.folder if isinstance(self._source, EmbeddedServer) else None

    def libpq_parameters(self) -> dict[str, str]:
        """The parameters with which libpq, and so ``psql``, connects, by its own names; with the password.

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
        return self._source

    def _close_async_engine(self) -> None:
        with self._making:
            made, self._made_async = self._made_async, None
        if made is not None:
            # Its pool closes connections where no event loop runs, too.
            made.sync_engine.dispose()

    def _make_connection(self, purpose: str) -> DedicatedConnection:
        engine = self.async_engine
        prepare = (
            None
            if self.pooler or self.made(engine.sync_engine)
            else partial(prepare_session, settings=SESSION_SETTINGS)
        )
        return DedicatedConnection(engine, purpose, pooler=self.pooler, prepare=prepare)

    def _close_sync(self) -> None:
        self.waiters.close()
        self._notifier.wait_closed()
        for direct in self._direct.values():
            direct.close()
        with self._making:
            made, self._made = self._made, None
        if made is not None:
            made.dispose()
        if isinstance(self._source, EmbeddedServer):
            self._source.stop()

    def _start_anew(self) -> None:
        """In a child process: leave the parent's connections to it, on a caller's engine as well."""
        given = self._given_async and self._given_async.sync_engine
        made = self._made_async and self._made_async.sync_engine
        for engine in (self._given, given, self._made, made):
            if engine is not None:
                engine.dispose(close=False)
        self._made = self._made_async = None
        self._making = threading.Lock()
        self._notifier.start_anew()
        self.waiters.start_anew()


class LazyDatabase:
    """A database that is found when it is first asked for: once, whatever the threads.

    Args:
        database: What finds it; or one that is found already.

    Attributes:
        found: The database; None as long as it was not asked for.
    """

    def __init__(self, database: Database | Callable[[], Database]) -> None:
        if isinstance(database, Database):
            self.found: Database | None = database
        else:
            self.found = None
            self._find = database
        self._finding = threading.Lock()
        _databases.add(self)

    def get(self) -> Database:
        """Find the database, unless it is found already.

        Raises:
            InvalidDatabase: The environment names one that taskq cannot use.
            DatabaseNotConfigured: No database is named, and there is no embedded server.
        """
        if self.found is None:
            with self._finding:
                if self.found is None:
                    self.found = self._find()
        return self.found

    def _start_anew(self) -> None:
        """In a child process: a thread that was finding it is not there."""
        self._finding = threading.Lock()


def _after_fork() -> None:
    leave_to_parent()
    for database in list(_databases):
        database._start_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_pooler(pooler: object) -> None:
    """Refuse what says neither whether there is a pooler, nor that the URL says it.

    Raises:
        InvalidDatabase: It is neither a bool nor None.
    """
    if not isinstance(pooler, bool | None):
        raise InvalidDatabase(
            f"pooler={short_repr(pooler)}: give True, False, or None for what the URL says"
        )


def _url_of(engine: Engine) -> URL:
    driver = f"{engine.dialect.name}+{engine.dialect.driver}"
    if driver != DRIVER:
        raise InvalidDatabase(
            f"the engine is for {driver}, and taskq needs {DRIVER}: make it with "
            f"create_engine('{DRIVER}://user@host/name')"
        )
    return engine.url.set(drivername=DRIVER)
