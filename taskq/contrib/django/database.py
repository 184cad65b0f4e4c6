"""The database of an alias in ``DATABASES``, for what taskq does on connections of its own: its workers."""

import threading
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from psycopg import ProgrammingError
from psycopg.conninfo import make_conninfo

from taskq.database.database import Database, LazyDatabase
from taskq.exceptions import InvalidDatabase

# What Django, or psycopg itself, takes beside what libpq does.
_NOT_OF_LIBPQ: Final = {
    "autocommit",
    "client_encoding",
    "context",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
    "server_side_binding",
}


class AliasDatabase(Database):
    """A database that Django has connections to, by an alias."""

    alias: str = ""


class DjangoDatabase(LazyDatabase):
    """Finds the database of an alias; again when its settings change, as for the time of a test run.

    Args:
        alias: The alias.
        pooler: As for ``App``.
    """

    def __init__(self, alias: str, *, pooler: bool | None) -> None:
        super().__init__(self._resolve)
        self.alias = alias
        self._pooler = pooler
        self._found_by: object = None
        self._changing = threading.Lock()

    def get(self) -> Database:
        """Find the database.

        Raises:
            InvalidDatabase: It is none of PostgreSQL's, or its settings cannot be used.
        """
        said = _settings_of(self.alias)
        with self._changing:
            if self.found is not None and said != self._found_by:
                self.found.close()
                self.found = None
            if self.found is None:
                self.found = self._resolve()
                self._found_by = said
            return self.found

    def _resolve(self) -> Database:
        database = AliasDatabase.resolve(conninfo_of(self.alias), pooler=self._pooler)
        database.alias = self.alias
        database.origin = f"named by DATABASES[{self.alias!r}]"
        return database

    def _start_anew(self) -> None:
        super()._start_anew()
        self._changing = threading.Lock()


def conninfo_of(alias: str) -> str:
    """How libpq connects to the database of an alias, with the password.

    Raises:
        InvalidDatabase: It is none of PostgreSQL's, or its settings cannot be used.
    """
    connection = connections[alias]
    refuse_engine(connection)
    try:
        given = dict(connection.get_connection_params())
    except ImproperlyConfigured as error:
        raise InvalidDatabase(f"DATABASES[{alias!r}] cannot be used: {error}") from error
    parameters = {
        name: value
        for name, value in given.items()
        if name not in _NOT_OF_LIBPQ and value is not None
    }
    if role := connection.settings_dict["OPTIONS"].get("assume_role"):
        # As Django does after it has connected.
        parameters["options"] = f"{parameters.get('options', '')} -c role={_escaped(role)}".strip()
    try:
        return make_conninfo(**parameters)
    except ProgrammingError as error:
        raise InvalidDatabase(
            f"DATABASES[{alias!r}] has OPTIONS that libpq does not know: {error}"
        ) from error


def refuse_engine(connection: Any) -> None:
    """Refuse a connection of Django's that is not to PostgreSQL, or by another driver than psycopg 3.

    Raises:
        InvalidDatabase: It is one.
    """
    engine, driver = connection.settings_dict["ENGINE"], connection.Database.__name__
    if connection.vendor != "postgresql":
        raise InvalidDatabase(
            f"DATABASES[{connection.alias!r}] has the engine {engine!r}, and taskq needs PostgreSQL: name a "
            "database with 'django.db.backends.postgresql' by TASKQ['DATABASE'], or as 'database' in the "
            "OPTIONS of the backend in TASKS"
        )
    if driver != "psycopg":
        raise InvalidDatabase(
            f"DATABASES[{connection.alias!r}], with the engine {engine!r}, is on {driver}, and taskq needs "
            "psycopg 3, which Django prefers where it is installed: use an engine that takes it, as "
            "'django.db.backends.postgresql' does"
        )


def _settings_of(alias: str) -> object:
    said = connections.settings[alias]
    names = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")
    return [said.get(name) for name in names], dict(said.get("OPTIONS") or {})


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
