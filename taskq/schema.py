"""The schema: what taskq has in the database, and how it comes there."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from taskq.database import Database
from taskq.exceptions import MigrationEdited
from taskq.manager.errors import translated
from taskq_sql import migrations

T = TypeVar("T")

_FILE = re.compile(r"(\d{4})_\w+\.sql")

# A wheel carries them inside the package; a checkout has them where they are written.
_FOLDERS = (
    Path(__file__).parent / "migrations",
    Path(__file__).parents[1] / "sql" / "migrations",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema.

    Attributes:
        version: The number that the file's name starts with.
        name: The file's name.
        sql: What the file says.
    """

    version: int
    name: str
    sql: bytes

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.sql).hexdigest()


def read_migrations() -> list[Migration]:
    """The migrations that this version of taskq carries, in order."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    return [
        Migration(version=int(match[1]), name=path.name, sql=path.read_bytes())
        for path in sorted(folder.iterdir())
        if (match := _FILE.fullmatch(path.name))
    ]


class SchemaManager:
    """Applies the schema to one database.

    taskq lives in the namespace that is first in the connection's ``search_path``.

    Args:
        database: Where the schema is, or is to be.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_applied(self) -> bool:
        """Whether the database has a schema of taskq, of whatever version.

        Raises:
            DatabaseUnavailable: The database does not answer.
        """
        with translated(), self._database.engine.connect() as connection:
            return _is_applied(connection)

    async def is_applied_async(self) -> bool:
        """The async face of ``is_applied``."""
        with translated():
            async with self._database.async_engine.connect() as connection:
                return await connection.run_sync(_is_applied)

    def apply_schema(self) -> list[Migration]:
        """Apply the migrations that the database does not have, in one transaction.

        It may be called at any time, and by many processes at once: one does the work, and the
        others wait for it and find nothing to do.

        Returns:
            The migrations that were applied now; empty if the database had them all.

        Raises:
            MigrationEdited: The database has a migration that differs from the one of its number.
            DatabaseUnavailable: The database does not answer.
        """
        with translated(), self._database.engine.connect() as connection:
            return _in_transaction(connection, _apply)

    async def apply_schema_async(self) -> list[Migration]:
        """The async face of ``apply_schema``."""
        with translated():
            async with self._database.async_engine.connect() as connection:
                return await connection.run_sync(_in_transaction, _apply)


def _in_transaction(connection: Connection, operation: Callable[[Connection], T]) -> T:
    # taskq's engines are in autocommit.
    connection = connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        return operation(connection)


def _is_applied(connection: Connection) -> bool:
    return bool(migrations.Querier(connection).has_migrations())


def _apply(connection: Connection) -> list[Migration]:
    querier = migrations.Querier(connection)
    querier.lock_migrations()
    applied = (
        {row.version: row.checksum for row in querier.list_migrations()}
        if querier.has_migrations()
        else {}
    )
    missing = []
    for migration in read_migrations():
        checksum = applied.get(migration.version)
        if checksum is None:
            missing.append(migration)
        elif checksum != migration.checksum:
            raise MigrationEdited(
                f"the database has a migration {migration.version} that is not {migration.name} as "
                "this version of taskq has it; a migration that was applied is never edited: write "
                "a new one, or start from an empty database"
            )
    for migration in missing:
        # Of many statements and with no parameters, which only the driver's own cursor takes.
        cursor = connection.connection.cursor()
        cursor.execute(migration.sql.decode())
        cursor.close()
        querier.record_migration(
            version=migration.version, name=migration.name, checksum=migration.checksum
        )
    return missing
