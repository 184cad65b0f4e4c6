"""``manage.py taskq …``: taskq's whole command line, on the app and the database of the settings."""

import sys
from argparse import REMAINDER
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import click
from django.conf import settings as django_settings
from django.core.management.base import BaseCommand, CommandError

from taskq.app import App
from taskq.cli.program import program
from taskq.cli.settings import Settings
from taskq.contrib.django.application import get_app
from taskq.contrib.django.configuration import check_alias
from taskq.database.database import Database

# The path of the project's app, which is not imported by it here.
_APP: Final = "taskq.contrib.django:app"
_NAME: Final = "manage.py taskq"


@dataclass
class DjangoSettings(Settings):
    """What a command line says, where Django's settings say the rest.

    Attributes:
        alias: The database whose app it is; None: that of the settings.
    """

    app_path: str | None = _APP
    alias: str | None = None

    def app(self) -> App:
        """The project's app, unless ``--app`` names another one."""
        return get_app(self.alias) if self.app_path == _APP else super().app()

    @cached_property
    def database(self) -> Database:
        """The database: by its alias in ``DATABASES``, by its URL, or that of the app."""
        if self.database_url in django_settings.DATABASES:
            database = get_app(self.database_url).database
            click.get_current_context().call_on_close(database.close)
            return database
        found: Database = Settings.database.func(self)
        return found


class Command(BaseCommand):
    """The command."""

    help = "taskq's command line: worker, jobs, queues, schema, doctor, dashboard …"
    # To apply the schema has to be possible before all is well.
    requires_system_checks: Any = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """The parser of what Django's commands share, whose help is that of taskq's commands."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.format_help = _help
        return parser

    def add_arguments(self, parser: Any) -> None:
        """Add what comes before the name of taskq's command, and leave the rest to that."""
        parser.add_argument("--database", metavar="ALIAS")
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the command that is named."""
        alias = options["database"]
        if alias is not None:
            check_alias("--database", alias)
        try:
            code = program.main(
                args=options["arguments"],
                prog_name=_NAME,
                obj=DjangoSettings(alias=alias),
                standalone_mode=False,
            )
        except click.exceptions.NoArgsIsHelpError as error:
            raise CommandError(error.format_message(), returncode=2) from None
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=error.exit_code) from error
        except click.Abort:
            raise CommandError("aborted", returncode=1) from None
        if isinstance(code, int) and code:
            sys.exit(code)


def _help() -> str:
    with click.Context(program, info_name=_NAME) as context:
        shown = program.get_help(context)
    return (
        f"{shown}\n\n"
        "  Before the command: --database ALIAS, one of DATABASES in place of TASKQ['DATABASE'];\n"
        "  and Django's own --settings, --pythonpath and --traceback.\n"
    )
