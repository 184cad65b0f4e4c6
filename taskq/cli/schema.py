"""``taskq schema``: what taskq has in the database, and how it changes."""

import logging
import sys
from typing import get_args

import click

from taskq.cli import logs
from taskq.cli.command import Group
from taskq.cli.listing import Column, print_listing
from taskq.cli.settings import Settings
from taskq.cli.times import server_now
from taskq.schema import (
    MigrationState,
    MigrationStatus,
    RoleKind,
    SchemaManager,
    migrations_folder,
)

_STYLES = {
    MigrationState.APPLIED: "green",
    MigrationState.PENDING: "yellow",
    MigrationState.EDITED: "red",
    MigrationState.UNKNOWN: "red",
}

_COLUMNS: list[Column[MigrationStatus]] = [
    Column("migration", lambda status: status.name),
    Column("phase", lambda status: status.phase or "?"),
    Column("state", lambda status: status.state, lambda status: _STYLES[status.state]),
    Column("applied", lambda status: status.applied_at),
]

_pre_option = click.option(
    "--pre",
    is_flag=True,
    help="Only what may be applied before the new code runs. What is left takes away what only the old "
    "code needs: apply it when none of that runs any more.",
)
_up_to_option = click.option(
    "--up-to",
    metavar="N",
    type=click.IntRange(min=1),
    help="Only up to the migration of this number.",
)
_patience_option = click.option(
    "--patience",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="How long to try to get a lock that others have; they are never kept waiting behind it.",
)


@click.group(cls=Group)
def schema() -> None:
    """Apply, check and remove the schema: all that taskq has in the database."""


@schema.command(example="schema apply --database postgresql://me@host/shop --pre")
@_pre_option
@_up_to_option
@_patience_option
def apply(settings: Settings, /, pre: bool, up_to: int | None, patience: float) -> None:
    """Apply what the database does not have yet.

    It may be run at any time, and by many at once: before each deployment, say. It says what it applied.
    """
    logs.set_up(verbose=settings.verbose, level=logging.WARNING)
    manager = settings.schema_manager
    applied = manager.apply_schema(pre_only=pre, up_to=up_to, patience=patience)
    left = _pending(manager)
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if left:
        click.echo(f"still to be applied: {', '.join(left)}")
    elif not applied:
        click.echo("nothing to do: the database has the whole schema already")


@schema.command(example="schema status --database postgresql://me@host/shop --json", json=True)
def status(settings: Settings, /, json: bool) -> None:
    """List the migrations, and where each of them stands in the database.

    applied: it is there. pending: it is not. edited: there is another one of its number. unknown: a newer
    version of taskq has applied it.
    """
    print_listing(
        settings.schema_manager.status(),
        _COLUMNS,
        as_json=json,
        nothing="there is none",
        now=server_now(settings.database),
    )


@schema.command(example="schema check --database postgresql://me@host/shop")
def check(settings: Settings, /) -> None:
    """Fail if this version of taskq does not run on the database: exit code 1, and the reason.

    For deployments and health checks. In the middle of a deployment it succeeds with the old version and
    with the new one: what has the phase post may be missing, and what a newer version has applied before
    it runs may be there.
    """
    settings.schema_manager.check()
    left = _pending(settings.schema_manager)
    click.echo("this version of taskq runs on the database")
    if left:
        click.echo(f"to be applied when no older version runs any more: {', '.join(left)}")


@schema.command(
    example="schema sql --database postgresql://me@host/shop | psql postgresql://dba@host/shop"
)
@_pre_option
@_up_to_option
def sql(settings: Settings, /, pre: bool, up_to: int | None) -> None:
    """Print what apply would run, for those who apply migrations themselves.

    psql runs it as it is. It records what it applies, as apply does.
    """
    script = settings.schema_manager.sql(pre_only=pre, up_to=up_to)
    click.echo(script or "-- nothing to do: the database has it already\n", nl=False)


@schema.command(example="schema path | xargs ls", app=False, database=False)
def path(settings: Settings, /) -> None:
    """Print the folder of the migrations that this version of taskq carries."""
    click.echo(migrations_folder())


@schema.command(
    example="schema grants --role web --as deferrer --database postgresql://me@host/shop | psql ..."
)
@click.option("--role", metavar="NAME", required=True, help="Whom to grant it, quoted as need be.")
@click.option(
    "--as",
    type=click.Choice(get_args(RoleKind)),
    required=True,
    help="deferrer: defers jobs, and asks where they stand. worker: runs jobs, and does all that may be "
    "done to them. observer: reads everything, and writes nothing.",
)
def grants(settings: Settings, /, role: str, **given: RoleKind) -> None:
    """Print the GRANTs that let a role do one kind of work and nothing else.

    For the owner of the schema to run, again after each migration. The role need not exist yet.
    """
    click.echo(settings.schema_manager.grants(role, given["as"]), nl=False)


@schema.command(example="schema remove --database postgresql://me@host/shop")
@_patience_option
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(settings: Settings, /, patience: float, yes: bool) -> None:
    """Drop all that taskq has in the database, with all jobs. It asks first."""
    logs.set_up(verbose=settings.verbose, level=logging.WARNING)
    manager, database = settings.schema_manager, settings.database
    if manager.is_applied() and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                f"schema remove would ask before it drops taskq's schema from {database!r}, and nobody "
                "can answer here: say --yes"
            )
        jobs, workers = manager.count_users()
        click.confirm(
            f"Jobs that have not ended: {jobs:,}. Workers: {workers:,}. Drop taskq's schema, with all "
            f"jobs, from the namespace {manager.namespace()!r} of {database!r}?",
            abort=True,
        )
    removed = manager.remove(patience=patience)
    click.echo("removed" if removed else "nothing to do: the database has no schema of taskq")


def _pending(manager: SchemaManager) -> list[str]:
    return [status.name for status in manager.status() if status.state is MigrationState.PENDING]
