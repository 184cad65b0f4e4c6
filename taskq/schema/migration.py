"""A migration: one step of the schema, as a file of SQL."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from taskq.exceptions import InvalidMigration

_NAME = re.compile(r"(\d{4})_(pre|post)_[a-z0-9_]+\.sql")

# A wheel carries them inside the package; a checkout has them where they are written.
_FOLDERS = (
    Path(__file__).parents[1] / "migrations",
    Path(__file__).parents[2] / "sql" / "migrations",
)

# What PostgreSQL refuses to do in a transaction, as it waits for those of others.
_CONCURRENT = re.compile(r"\s*(?:CREATE|DROP|REINDEX)\b.*\bCONCURRENTLY\b", re.DOTALL)


class Phase(StrEnum):
    """When a migration may be applied in a deployment.

    Attributes:
        PRE: Before the new code runs: the old code does not mind.
        POST: When no old code runs any more: it takes away what only that needed.
    """

    PRE = "pre"
    POST = "post"


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
    def phase(self) -> Phase:
        """When it may be applied."""
        phase = phase_of(self.name)
        assert phase is not None, f"{self.name} was read without a check of its name"  # noqa: S101
        return phase

    @property
    def checksum(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return hashlib.sha256(self.sql).hexdigest()

    @property
    def is_concurrent(self) -> bool:
        """Whether its statements are run one by one, outside of a transaction."""
        return any(map(_CONCURRENT.match, statements_of(self.sql.decode())))


def phase_of(name: str) -> Phase | None:
    """The phase that the name of a migration's file says; None: it is no such name."""
    match = _NAME.fullmatch(name)
    return None if match is None else Phase(match[2])


def statements_of(sql: str) -> list[str]:
    """The statements of a script that ends each of them at the end of a line, as concurrent ones do."""
    bare = re.sub(r"--[^\n]*", "", sql)
    return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", bare) if part.strip()]


def migrations_folder() -> Path:
    """Where the migrations are that this version of taskq carries."""
    return next(folder for folder in _FOLDERS if folder.is_dir())


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """The migrations of a folder, in order.

    Args:
        folder: Where they are; else what this version of taskq carries.

    Raises:
        InvalidMigration: A file has not the name that a migration has, or not the number that it should
            have, or is to run both inside and outside of a transaction.
    """
    found = []
    for path in sorted((folder or migrations_folder()).glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            raise InvalidMigration(
                f"{path.name!r} is no name of a migration: write 0002_pre_add_a_column.sql, with pre if "
                "it may be applied before the new code runs, and post if the old code must be gone"
            )
        found.append(Migration(version=int(match[1]), name=path.name, sql=path.read_bytes()))
    _check_numbers(found)
    for migration in found:
        _check_statements(migration)
    return found


def _check_numbers(migrations: Sequence[Migration]) -> None:
    for number, migration in enumerate(migrations, 1):
        if migration.version != number:
            raise InvalidMigration(
                f"{migration.name} should have the number {number:04}: migrations are numbered from "
                "0001, each number once and none left out"
            )


def _check_statements(migration: Migration) -> None:
    if not migration.is_concurrent:
        return
    for statement in statements_of(migration.sql.decode()):
        if not _CONCURRENT.match(statement):
            raise InvalidMigration(
                f"{migration.name} has statements with CONCURRENTLY, which cannot be in a transaction, and "
                f"others, which should be, such as {statement[:40]!r}: put them into migrations of "
                "their own"
            )
