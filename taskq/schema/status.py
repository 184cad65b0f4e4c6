"""How a database compares with what a version of taskq knows of the schema."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from taskq.exceptions import MigrationEdited, MigrationOutOfOrder, SchemaNotApplied, SchemaTooNew
from taskq.queries.migrations import Recorded
from taskq.schema.migration import Migration, Phase, phase_of


class MigrationState(StrEnum):
    """Where a migration stands in a database.

    Attributes:
        APPLIED: The database has it, as it is here.
        PENDING: The database does not have it.
        EDITED: The database has another one of its number.
        UNKNOWN: The database has it, and this version of taskq does not: a newer one applied it.
    """

    APPLIED = "applied"
    PENDING = "pending"
    EDITED = "edited"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """Where one migration stands in one database.

    Attributes:
        version: Its number.
        name: The name of its file.
        phase: When it may be applied; None if a database has it by a name that does not say so.
        state: Where it stands.
        applied_at: When it was applied; None if it was not.
    """

    version: int
    name: str
    phase: Phase | None
    state: MigrationState
    applied_at: datetime | None


def compare(known: Sequence[Migration], recorded: Iterable[Recorded]) -> list[MigrationStatus]:
    """Where each migration stands, of those that taskq knows and those that the database has."""
    found = {row.version: row for row in recorded}
    statuses = [_status(migration, found.pop(migration.version, None)) for migration in known]
    unknown = [
        MigrationStatus(
            version=row.version,
            name=row.name,
            phase=phase_of(row.name),
            state=MigrationState.UNKNOWN,
            applied_at=row.applied_at,
        )
        for row in found.values()
    ]
    return sorted([*statuses, *unknown], key=lambda status: status.version)


def _status(migration: Migration, row: Recorded | None) -> MigrationStatus:
    if row is None:
        state = MigrationState.PENDING
    elif row.checksum == migration.checksum:
        state = MigrationState.APPLIED
    else:
        state = MigrationState.EDITED
    return MigrationStatus(
        version=migration.version,
        name=migration.name,
        phase=migration.phase,
        state=state,
        applied_at=None if row is None else row.applied_at,
    )


def refuse_newer(statuses: Iterable[MigrationStatus], *, even_pre: bool = False) -> None:
    """Refuse a database that a newer taskq has changed.

    Its migrations that are marked pre are no reason, unless ``even_pre``: this version runs on them.

    Raises:
        SchemaTooNew: It has.
    """
    for status in statuses:
        if status.state is MigrationState.UNKNOWN and (even_pre or status.phase is not Phase.PRE):
            raise SchemaTooNew(
                f"the database has {status.name!r}, which this version of taskq does not know: it was "
                "migrated for a newer one; install that (pip install --upgrade taskq-sql)"
            )


def refuse_strangers(statuses: Sequence[MigrationStatus]) -> None:
    """Refuse a database that this version of taskq can neither use nor change.

    Raises:
        SchemaTooNew: A newer taskq has taken away what this one needs.
        MigrationEdited: The database has another migration of a number.
    """
    refuse_newer(statuses)
    for status in statuses:
        if status.state is MigrationState.EDITED:
            raise MigrationEdited(
                f"the database has a migration {status.version} that is not {status.name} as "
                "this version of taskq has it; a migration that was applied is never edited: write "
                "a new one, or start from an empty database"
            )


def refuse(statuses: Sequence[MigrationStatus]) -> None:
    """Refuse a database on which this version of taskq does not run.

    It runs without its own post migrations, which wait until the old code is gone.

    Raises:
        SchemaNotApplied: A migration is missing that this version needs.
        SchemaTooNew: A newer taskq has taken away what this one needs.
        MigrationEdited: The database has another migration of a number.
    """
    refuse_strangers(statuses)
    missing = [status.name for status in pending(statuses) if status.phase is Phase.PRE]
    if missing:
        lacking = (
            f"{missing[0]} is"
            if len(missing) == 1
            else f"{missing[0]} and {len(missing) - 1} more are"
        )
        raise SchemaNotApplied(
            f"the database has not the schema that this version of taskq needs ({lacking} "
            "missing): run python -m taskq schema apply, or app.schema_manager.apply_schema()"
        )


def pending(statuses: Iterable[MigrationStatus]) -> list[MigrationStatus]:
    """Those that the database does not have."""
    return [status for status in statuses if status.state is MigrationState.PENDING]


def select(
    known: Sequence[Migration],
    statuses: Sequence[MigrationStatus],
    *,
    pre_only: bool,
    up_to: int | None,
) -> list[Migration]:
    """The migrations to apply now, in order.

    Raises:
        SchemaTooNew, MigrationEdited: As ``refuse_strangers``.
        MigrationOutOfOrder: With ``pre_only``, one that is marked post would have to come first.
    """
    refuse_strangers(statuses)
    by_version: Mapping[int, Migration] = {migration.version: migration for migration in known}
    wanted = [
        by_version[status.version]
        for status in pending(statuses)
        if up_to is None or status.version <= up_to
    ]
    if not pre_only:
        return wanted
    post: Migration | None = None
    for migration in wanted:
        if migration.phase is Phase.POST:
            post = post or migration
        elif post is not None:
            raise MigrationOutOfOrder(
                f"{post.name} of an earlier version is pending, and {migration.name} comes after it: "
                f"when nothing older than that version runs, apply it with python -m taskq schema apply "
                f"--up-to {post.version}, and then go on"
            )
    return [migration for migration in wanted if migration.phase is Phase.PRE]
