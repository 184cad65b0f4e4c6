"""The schema manager: what may be done to the schema, each operation in a sync and an async twin."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.util import await_only

from taskq.database.database import Database
from taskq.database.errors import translated
from taskq.database.executor import borrowed
from taskq.database.sync_async import SyncAsync, async_method
from taskq.schema import operations
from taskq.schema.migration import Migration, migrations_folder, read_migrations
from taskq.schema.operations import RoleKind
from taskq.schema.status import MigrationStatus

P = ParamSpec("P")
T = TypeVar("T")


class SchemaManager(SyncAsync):
    """Applies the schema to one database, and says how the database compares with it.

    taskq lives in the first namespace of the connection's ``search_path`` that exists.

    All operations raise ``DatabaseUnavailable`` if the database does not answer, and ``NotPermitted`` if
    the role may not do it.

    Args:
        database: Where the schema is, or is to be; or what finds it.
        folder: Where the migrations are; else those that this version of taskq carries.
    """

    def __init__(
        self, database: Database | Callable[[], Database], *, folder: Path | None = None
    ) -> None:
        super().__init__(database)
        self._folder = folder

    @property
    def path(self) -> Path:
        """The folder with the migrations that this version of taskq carries."""
        return self._folder or migrations_folder()

    def is_applied(self) -> bool:
        """Whether the database has a schema of taskq, of whatever version."""
        return self._run(operations.is_applied)

    is_applied_async: Final = async_method(is_applied)

    def namespace(self) -> str:
        """The namespace that the schema is in, or is to be.

        Raises:
            InvalidDatabase: ``search_path`` names no namespace that exists.
        """
        return self._run(operations.namespace)

    namespace_async: Final = async_method(namespace)

    def status(self) -> list[MigrationStatus]:
        """Where each migration stands: those that this version knows, and those that the database has.

        Raises:
            InvalidDatabase: ``search_path`` names no namespace that exists.
        """
        return self._run(operations.status, self._known())

    status_async: Final = async_method(status)

    def check(self) -> None:
        """Refuse a database on which this version of taskq does not run; a worker does so at its start.

        Migrations that are marked post may be missing, and those of a newer version that are marked pre
        may be there: so it is in the middle of a deployment.

        Raises:
            SchemaNotApplied: A migration is missing that this version needs.
            SchemaTooNew: A newer version has taken away what this one needs.
            MigrationEdited: The database has another migration of a number.
        """
        return self._run(operations.check, self._known())

    check_async: Final = async_method(check)

    def apply_schema(
        self, *, pre_only: bool = False, up_to: int | None = None, patience: float = 60.0
    ) -> list[Migration]:
        """Apply the migrations that the database does not have, each all or not at all.

        It may be called at any time, and by many processes at once: one does the work, and the
        others wait for it and find nothing to do. Workers may run. No statement waits longer than half a
        second for a lock; then it makes room for those that wait behind it, and tries again.

        Args:
            pre_only: Only those that may be applied before the new code runs; the others afterwards, when
                no old code runs any more.
            up_to: Only those with this number or a lower one.
            patience: For how many seconds to try to get a lock, for each migration. One that builds an
                index beside the traffic has no such limit: it waits until each transaction that is older
                than it has ended, and nothing waits for it.

        Returns:
            The migrations that were applied now; empty if the database had them all.

        Raises:
            SchemaTooNew: A newer version has taken away what this one needs.
            MigrationEdited: The database has another migration of a number.
            MigrationOutOfOrder: With ``pre_only``, one that is marked post has to come first.
            MigrationBlocked: A lock was not to be had; the message says who has one.
            MigrationFailed: The database refuses one. Those before it stay applied.
            InvalidDatabase: ``search_path`` names no namespace that exists, or there is something to apply
                and a pooler stands between.
        """
        return self._run(
            operations.apply,
            self._known(),
            self._sleep,
            pre_only=pre_only,
            up_to=up_to,
            patience=patience,
            pooler=self.database.pooler,
        )

    apply_schema_async: Final = async_method(apply_schema)

    def sql(self, *, pre_only: bool = False, up_to: int | None = None) -> str:
        """Write what ``apply_schema`` would run, as a script for psql; empty if that is nothing.

        Args:
            pre_only: As for ``apply_schema``.
            up_to: As for ``apply_schema``.

        Raises:
            SchemaTooNew, MigrationEdited, MigrationOutOfOrder, InvalidDatabase: As ``apply_schema``.
        """
        return self._run(operations.sql, self._known(), pre_only=pre_only, up_to=up_to)

    sql_async: Final = async_method(sql)

    def count_users(self) -> tuple[int, int]:
        """Count what ``remove`` would take away: the jobs that have not ended, and the workers.

        Raises:
            SchemaNotApplied: There is no schema.
        """
        return self._run(operations.count_users)

    count_users_async: Final = async_method(count_users)

    def remove(self, *, patience: float = 60.0) -> bool:
        """Drop all that taskq has in its namespace, with all jobs; the namespace itself stays.

        Args:
            patience: For how many seconds to try to get the locks.

        Returns:
            Whether there was a schema.

        Raises:
            SchemaInUse: Something that is not taskq's depends on it, such as a view.
            SchemaTooNew: A newer version has changed it, and knows better what belongs to it.
            MigrationBlocked: A lock was not to be had.
            InvalidDatabase: ``search_path`` names no namespace that exists, or a pooler stands between.
        """
        return self._run(
            operations.remove,
            self._known(),
            self._sleep,
            patience=patience,
            pooler=self.database.pooler,
        )

    remove_async: Final = async_method(remove)

    def grants(self, role: str, kind: RoleKind) -> str:
        """Write the statements that let a role do one kind of work and nothing else, for the owner.

        Args:
            role: Its name, as it is; it need not exist yet.
            kind: ``deferrer``, ``worker`` or ``observer``.

        Raises:
            InvalidOption: It is no name that a role can have, or no such kind.
            SchemaNotApplied: There is no schema to grant anything on.
        """
        return self._run(operations.write_grants, role, kind)

    grants_async: Final = async_method(grants)

    def _run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        database = self.database
        with (
            translated(database),
            borrowed(self._engine(database), pooler=database.pooler) as connection,
        ):
            return operation(connection, *args, **kwargs)

    def _known(self) -> list[Migration]:
        return read_migrations(self.path)

    def _sleep(self, seconds: float) -> None:
        if self._awaits:
            await_only(asyncio.sleep(seconds))  # others have the event loop meanwhile
        else:
            time.sleep(seconds)
