"""``taskq database``: the way into the database, embedded or not."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import click
from psycopg.conninfo import make_conninfo

from taskq.cli.command import command
from taskq.cli.settings import Settings
from taskq.database.database import LIBPQ_VARIABLES, Database
from taskq.embedded import programs
from taskq.escaping import escaped

_EPILOG = "Exit codes: psql's own, or 0 if the way in is printed."


@command(
    epilog=_EPILOG,
    example="database --app shop.jobs:app -- --command 'SELECT * FROM taskq_jobs'",
)
@click.argument("arguments", metavar="[-- PSQL ARGUMENTS]", nargs=-1)
@click.option(
    "--show", is_flag=True, help="Print which one it is, and the way in, and open nothing."
)
@click.option("--password", is_flag=True, help="Print the password with it.")
def database(
    settings: Settings, /, *, arguments: tuple[str, ...], show: bool, password: bool
) -> None:
    """Open psql on the database, or print the way in.

    It prints which database it is, who named it and how to connect where there is no terminal or no psql,
    or with --show. An embedded server runs as long as psql does.
    """
    opened = settings.database
    psql = shutil.which("psql") or (programs() / "psql" if opened.embedded_folder else None)
    wanted = bool(arguments) or (sys.stdin.isatty() and sys.stdout.isatty())
    if psql is None and arguments:
        raise click.ClickException(
            "psql is not installed: install PostgreSQL's client programs; or leave its arguments "
            "out, and see how other programs connect"
        )
    if psql is None or show or password or not wanted:
        for line in _way_in(opened, password=password):
            click.echo(escaped(line))
        return
    parameters = opened.libpq_parameters()
    # Not among the arguments, which every user of the machine can read.
    secret = {"PGPASSWORD": parameters.pop("password")} if "password" in parameters else {}
    code = subprocess.run(  # noqa: S603 - no shell, and it is the user's own psql
        [psql, make_conninfo(**parameters), *arguments], check=False, env=os.environ | secret
    ).returncode
    click.get_current_context().exit(code)


def _way_in(opened: Database, *, password: bool) -> Iterator[str]:
    parameters = opened.libpq_parameters()
    secret = parameters.pop("password", None)
    if password and secret is not None:
        parameters["password"] = secret
    folder = opened.embedded_folder
    where = f"embedded in {str(folder)!r}, " if folder else ""
    yield f"database: {where}{opened.origin}"
    for name in LIBPQ_VARIABLES if not parameters else ():
        if value := os.environ.get(name):
            yield f"{name}={value}"
    yield f"URL:      {_url(parameters)}"
    yield (
        f"psql:     psql {shlex.quote(make_conninfo(**parameters))}"
        if parameters
        else "psql:     psql"
    )
    if folder:
        yield "its server runs while somebody uses it, such as a worker or psql by this command"
    elif secret is not None and not password:
        yield "the password is not shown: --password does"


def _url(parameters: dict[str, str]) -> str:
    rest = dict(parameters)
    name = quote(rest.pop("dbname", ""), safe="")
    user, secret = (quote(rest.pop(key, ""), safe="") for key in ("user", "password"))
    who = f"{user}:{secret}@" if secret else f"{user}@" if user else ""
    query = urlencode(rest, quote_via=quote)
    return f"postgresql://{who}/{name}{'?' if query else ''}{query}"
