"""``taskq schema``: what taskq has in the database."""

import click

from taskq.cli.settings import Settings, app_option, pass_settings, verbose_option
from taskq.database import Database
from taskq.schema import SchemaManager


@click.group()
def schema() -> None:
    """Apply the schema: all that taskq has in the database."""


@schema.command(
    epilog="\b\nExample:\n  python -m taskq schema apply --database postgresql://me@host/shop"
)
@app_option()
@click.option(
    "--database",
    metavar="URL",
    help="The database, instead of the app's. With neither it is the one that TASKQ_DATABASE_URL or "
    "libpq's variables name, or else the embedded server.",
)
@verbose_option
@pass_settings
def apply(settings: Settings, /, database: str | None) -> None:
    """Apply what the database does not have yet.

    It may be run at any time, and by many at once: before each deployment, say. It says what it applied.
    """
    if database is None and settings.app_path is not None:
        opened = settings.app().database
    else:
        opened = Database.resolve(database)
    try:
        applied = SchemaManager(opened).apply_schema()
    finally:
        opened.close()
    for migration in applied:
        click.echo(f"applied {migration.name}")
    if not applied:
        click.echo("nothing to do: the database has the whole schema already")
