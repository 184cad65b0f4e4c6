"""``taskq schema``: what taskq has in the database, and how it changes."""

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, get_args

import click

from taskq.cli import logs
from taskq.cli.command import Group
from taskq.cli.listing import Column, json_option, print_listing
from taskq.cli.settings import (
    Settings,
    app_option,
    database_option,
    pass_settings,
    verbose_option,
)
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


@contextmanager
def _opened(settings: Settings, named: str | None) -> Iterator[SchemaManager]:
    with settings.database(named) as database:
        yield SchemaManager(database)


def _record(status: MigrationStatus) -> Mapping[str, Any]:
    return {
        "version": status.version,
        "name": status.name,
        "phase": status.phase,
        "state": status.state,
        "applied_at": status.applied_at,
    }


@click.group(cls=Group)
def schema() -> None:
    """Apply, check and remove the schema: all that taskq has in the database."""


@schema.command(example="schema apply --database postgresql://me@host/shop --pre")
@app_option()
@database_option
@_pre_option
@_up_to_option
@_patience_option
@verbose_option
@pass_settings
def apply(
    settings: Settings,
    /,
    database: str | None,
    pre: bool,
    up_to: int | None,
    patience: float,
) -> None:
    """Apply what the database does not have yet.

    It may be run at any time, and by many at once: before each deployment, say. It says what it applied.
    """
    logs.set_up(verbose=settings.verbose, level=logging.WARNING)
    with _opened(settings, database) as manager:
        applied = manager.apply_schema(pre_only=pre, up_to=up_to, patience=patience)
        left = _pending(manager)
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if left:
        click.echo(f"still to be applied: {', '.join(left)}")
    elif not applied:
        click.echo("nothing to do: the database has the whole schema already")


@schema.command(example="schema status --database postgresql://me@host/shop --json")
@app_option()
@database_option
@json_option
@verbose_option
@pass_settings
def status(settings: Settings, /, database: str | None, json: bool) -> None:
    """List the migrations, and where each of them stands in the database.

    applied: it is there. pending: it is not. edited: there is another one of its number. unknown: a newer
    version of taskq has applied it.
    """
    with settings.database(database) as opened:
        statuses = SchemaManager(opened).status()
        now = server_now(opened)
    print_listing(
        statuses, _COLUMNS, record=_record, as_json=json, nothing="there is none", now=now
    )


@schema.command(example="schema check --database postgresql://me@host/shop")
@app_option()
@database_option
@verbose_option
@pass_settings
def check(settings: Settings, /, database: str | None) -> None:
    """Fail if this version of taskq does not run on the database: exit code 1, and the reason.

    For deployments and health checks. In the middle of a deployment it succeeds with the old version and
    with the new one: what has the phase post may be missing, and what a newer version has applied before
    it runs may be there.
    """
    with _opened(settings, database) as manager:
        manager.check()
        left = _pending(manager)
    click.echo("this version of taskq runs on the database")
    if left:
        click.echo(f"to be applied when no older version runs any more: {', '.join(left)}")


@schema.command(
    example="schema sql --database postgresql://me@host/shop | psql postgresql://dba@host/shop"
)
@app_option()
@database_option
@_pre_option
@_up_to_option
@verbose_option
@pass_settings
def sql(settings: Settings, /, database: str | None, pre: bool, up_to: int | None) -> None:
    """Print what apply would run, for those who apply migrations themselves.

    psql runs it as it is. It records what it applies, as apply does.
    """
    with _opened(settings, database) as manager:
        script = manager.sql(pre_only=pre, up_to=up_to)
    click.echo(script or "-- nothing to do: the database has it already\n", nl=False)


@schema.command(example="schema path | xargs ls")
@verbose_option
@pass_settings
def path(settings: Settings, /) -> None:
    """Print the folder of the migrations that this version of taskq carries."""
    click.echo(migrations_folder())


@schema.command(
    example="schema grants --role web --as deferrer --database postgresql://me@host/shop | psql ..."
)
@app_option()
@database_option
@click.option("--role", metavar="NAME", required=True, help="Whom to grant it, quoted as need be.")
@click.option(
    "--as",
    type=click.Choice(get_args(RoleKind)),
    required=True,
    help="deferrer: defers jobs, and asks where they stand. worker: runs jobs, and does all that may be "
    "done to them. observer: reads everything, and writes nothing.",
)
@verbose_option
@pass_settings
def grants(settings: Settings, /, database: str | None, role: str, **given: RoleKind) -> None:
    """Print the GRANTs that let a role do one kind of work and nothing else.

    For the owner of the schema to run, again after each migration. The role need not exist yet.
    """
    with _opened(settings, database) as manager:
        click.echo(manager.grants(role, given["as"]), nl=False)


@schema.command(example="schema remove --database postgresql://me@host/shop")
@app_option()
@database_option
@_patience_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@verbose_option
@pass_settings
def remove(settings: Settings, /, database: str | None, patience: float, yes: bool) -> None:
    """Drop all that taskq has in the database, with all jobs. It asks first."""
    logs.set_up(verbose=settings.verbose, level=logging.WARNING)
    with settings.database(database) as opened:
        manager = SchemaManager(opened)
        if manager.is_applied() and not yes:
            if not sys.stdin.isatty():
                raise click.UsageError(
                    f"schema remove would ask before it drops taskq's schema from {opened!r}, and nobody "
                    "can answer here: say --yes"
                )
            jobs, workers = manager.count_users()
            click.confirm(
                f"Jobs that have not ended: {jobs:,}. Workers: {workers:,}. Drop taskq's schema, with all "
                f"jobs, from the namespace {manager.namespace()!r} of {opened!r}?",
                abort=True,
            )
        removed = manager.remove(patience=patience)
    click.echo("removed" if removed else "nothing to do: the database has no schema of taskq")


def _pending(manager: SchemaManager) -> list[str]:
    return [status.name for status in manager.status() if status.state is MigrationState.PENDING]
