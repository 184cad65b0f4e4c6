"""What is done to a schema: each operation once, on a synchronous connection."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal, cast, get_args

import psycopg
import sqlalchemy
from psycopg import Error, errors

from taskq.escaping import get_logger
from taskq.exceptions import (
    InvalidDatabase,
    InvalidOption,
    MigrationBlocked,
    MigrationFailed,
    SchemaInUse,
    SchemaNotApplied,
)
from taskq.messages import short_repr
from taskq.queries.connection import Connection, driver_of
from taskq.queries.encodings import encoding_of
from taskq.queries.grants import grant_queries
from taskq.queries.migrations import migration_queries
from taskq.schema.migration import Migration, statements_of
from taskq.schema.status import (
    MigrationStatus,
    compare,
    refuse,
    refuse_newer,
    select,
)

logger: Final = get_logger("taskq.schema")

Sleep = Callable[[float], object]

# What a role may be for.
RoleKind = Literal["deferrer", "worker", "observer"]

# How long a migration waits for a lock. Whatever comes after it waits behind it, hence not for long; and
# less than PostgreSQL's deadlock_timeout, so that of two in a deadlock it is the migration that gives way.
_LOCK_TIMEOUT = "500ms"

# Between two tries, in seconds: long enough for the traffic to flow again.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 5.0

# Between two checks whether another process still migrates, in seconds.
_CHECK_EVERY = 0.2

_LONGEST_IDENTIFIER = 63  # bytes


def is_applied(connection: Connection) -> bool:
    """Whether the database has a schema of taskq, of whatever version."""
    return bool(migration_queries(connection).has_migrations())


def namespace(connection: Connection) -> str:
    """The namespace that the schema is in, or is to be."""
    found = migration_queries(connection).find_namespace()
    if found is None or not found.namespace:
        path = "" if found is None else found.search_path
        names = [name.strip() for name in path.split(",")]
        first = next((name for name in names if name not in {"", '"$user"'}), "taskq")
        raise InvalidDatabase(
            f"search_path names no namespace that exists and that this role may use ({path}): run "
            f"CREATE SCHEMA {first}, or name another one"
        )
    return str(found.namespace)


def status(connection: Connection, known: Sequence[Migration]) -> list[MigrationStatus]:
    """Where each migration stands."""
    namespace(connection)
    found = migration_queries(connection).list_migrations() if is_applied(connection) else []
    return compare(known, found)


def check(connection: Connection, known: Sequence[Migration]) -> None:
    """Refuse a database on which this version of taskq does not run."""
    _refuse_encoding(connection)
    refuse(compare(known, migration_queries(connection).list_migrations()))


def apply(
    connection: sqlalchemy.Connection,
    known: Sequence[Migration],
    sleep: Sleep,
    *,
    pre_only: bool,
    up_to: int | None,
    patience: float,
    pooler: bool,
) -> list[Migration]:
    """Apply what is missing; returns it."""
    _refuse_encoding(connection)

    def missing() -> list[Migration]:
        return select(known, status(connection, known), pre_only=pre_only, up_to=up_to)

    if not missing():
        return []
    with _migrating(connection, sleep, pooler=pooler):
        # Another process may have done it while this one waited for the lock.
        wanted = missing()
        for migration in wanted:
            logger.info(
                "applying %s",
                migration.name,
                extra={"action": "migration_applying", "migration": migration.name},
            )
            script = _script(connection, migration)
            parts = statements_of(script) if migration.is_concurrent else [script]
            with _failing(migration):
                _run_retrying(connection, parts, sleep, what=migration.name, patience=patience)
    return wanted


def sql(
    connection: Connection, known: Sequence[Migration], *, pre_only: bool, up_to: int | None
) -> str:
    """Write what ``apply`` would run, for psql; empty if that is nothing."""
    wanted = select(known, status(connection, known), pre_only=pre_only, up_to=up_to)
    if not wanted:
        return ""
    querier = migration_queries(connection)
    opening = querier.write_opening(lock_timeout=_LOCK_TIMEOUT)
    scripts = [_script(connection, migration) for migration in wanted]
    return "\n".join([str(opening), *scripts, str(querier.write_closing())])


def count_users(connection: Connection) -> tuple[int, int]:
    """How many jobs have not ended, and how many workers are registered."""
    row = migration_queries(connection).count_users()
    if row is None:
        return 0, 0
    return row.jobs, row.workers


def remove(
    connection: sqlalchemy.Connection,
    known: Sequence[Migration],
    sleep: Sleep,
    *,
    patience: float,
    pooler: bool,
) -> bool:
    """Drop all of taskq's objects; returns whether there were any."""
    if not is_applied(connection):
        namespace(connection)
        return False
    with _migrating(connection, sleep, pooler=pooler):
        refuse_newer(status(connection, known), even_pre=True)
        script = str(migration_queries(connection).write_removal())
        try:
            _run_retrying(connection, [script], sleep, what="the removal", patience=patience)
        except errors.DependentObjectsStillExist as error:
            raise SchemaInUse(
                f"not removed, as something that is not taskq's depends on it ("
                f"{'; '.join((error.diag.message_detail or str(error)).splitlines())}): drop that first"
            ) from error
    return True


def write_grants(connection: Connection, role: str, kind: RoleKind) -> str:
    """Write the statements that let a role do one kind of work."""
    if not _is_identifier(role):
        raise InvalidOption(
            f"{short_repr(role)} is no name of a role: PostgreSQL's have 1 to {_LONGEST_IDENTIFIER} bytes"
        )
    if kind not in get_args(RoleKind):
        raise InvalidOption(f"{short_repr(kind)} is none of {', '.join(get_args(RoleKind))}")
    if not is_applied(connection):
        raise SchemaNotApplied(
            f"the namespace {namespace(connection)!r} has no schema of taskq to grant anything on: run "
            "python -m taskq schema apply, or app.schema_manager.apply_schema()"
        )
    querier = grant_queries(connection)
    write = {
        "deferrer": querier.write_deferrer_grants,
        "worker": querier.write_worker_grants,
        "observer": querier.write_observer_grants,
    }[kind]
    return str(write(role=role))


def _refuse_encoding(connection: Connection) -> None:
    driver = driver_of(connection)
    if driver is not None and encoding_of(driver) == "SQL_ASCII":
        raise InvalidDatabase(
            f"the encoding of the database {driver.info.dbname!r} is SQL_ASCII: it takes any bytes for text, "
            "and what one client writes another cannot read; make a database for taskq with CREATE DATABASE "
            "name ENCODING 'UTF8' TEMPLATE template0"
        )


def _is_identifier(name: object) -> bool:
    if not isinstance(name, str) or not name or "\0" in name:
        return False
    try:
        return len(name.encode()) <= _LONGEST_IDENTIFIER
    except UnicodeEncodeError:
        return False


def _script(connection: Connection, migration: Migration) -> str:
    querier = migration_queries(connection)
    if migration.is_concurrent:
        script = querier.write_concurrent_migration(
            migration=migration.sql.decode(),
            lock_timeout=_LOCK_TIMEOUT,
            version=migration.version,
            name=migration.name,
            checksum=migration.checksum,
        )
    else:
        script = querier.write_migration(
            migration=migration.sql.decode(),
            version=migration.version,
            name=migration.name,
            checksum=migration.checksum,
        )
    return str(script)


@contextmanager
def _migrating(connection: sqlalchemy.Connection, sleep: Sleep, *, pooler: bool) -> Iterator[None]:
    """Make the connection one that migrates, alone; it ends with it, and its settings and lock too."""
    if pooler:
        raise InvalidDatabase(
            "the schema is changed in one session that has a lock, and a pooler keeps no sessions: name the "
            "server itself, as in python -m taskq schema apply --database postgresql://user@host/name"
        )
    # What runs often would be prepared, which a script of many statements cannot be.
    cast("psycopg.Connection", connection.connection.driver_connection).prepare_threshold = None
    querier = migration_queries(connection)
    try:
        querier.prepare_migrations(lock_timeout=_LOCK_TIMEOUT)
        logged = False
        while not querier.try_lock_migrations():
            if not logged:
                logger.warning(
                    "another process applies the schema: waiting until it has",
                    extra={"action": "migrations_locked"},
                )
            logged = True
            sleep(_CHECK_EVERY)
        yield
    finally:
        connection.invalidate()


@contextmanager
def _failing(migration: Migration) -> Iterator[None]:
    try:
        yield
    except (errors.OperationalError, errors.InsufficientPrivilege):
        raise  # not the migration's fault
    except Error as error:
        raise MigrationFailed(
            f"{migration.name} cannot be applied ({str(error).partition(chr(10))[0]}): what came before it "
            "is applied; mend what stands in its way, and apply the rest"
        ) from error


def _run_retrying(
    connection: sqlalchemy.Connection,
    parts: Sequence[str],
    sleep: Sleep,
    *,
    what: str,
    patience: float,
) -> None:
    """Run a script in its parts, from the beginning again if a lock is not to be had."""
    deadline = time.monotonic() + patience
    pause = _FIRST_PAUSE
    while True:
        try:
            for part in parts:
                # Of many statements and with no parameters, which only the driver's own cursor takes.
                cursor = connection.connection.cursor()
                cursor.execute(part)
                cursor.close()
        except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
            connection.connection.rollback()
            if time.monotonic() + pause > deadline:
                raise MigrationBlocked(
                    f"{what} could not get a lock within {patience:g} s, without keeping the jobs from "
                    f"flowing: {_blockers(connection)}; end that, or try again with more patience"
                ) from error
            logger.warning(
                "%s waits for a lock, and tries again in %s s: %s",
                what,
                pause,
                _blockers(connection),
                extra={"action": "migration_blocked", "migration": what},
            )
        else:
            return
        sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _blockers(connection: Connection) -> str:
    rows = list(migration_queries(connection).list_blockers())
    if not rows:
        return "whoever had it has ended"
    return ", ".join(
        f"process {row.pid} of {row.role!r} ({row.application or 'unnamed'}) has one"
        + (f" since {row.seconds:.0f} s" if row.seconds >= 0 else "")
        for row in rows
    )
