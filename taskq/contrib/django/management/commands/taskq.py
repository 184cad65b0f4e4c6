"""``manage.py taskq …``: taskq's whole command line, on the app and the database of the settings."""

import sys
from argparse import REMAINDER
from importlib import import_module
from typing import Any, ClassVar

import click
from django.core.management.base import BaseCommand, CommandError

from taskq.contrib.django.configuration import check_alias


class Command(BaseCommand):
    """The command."""

    help = "taskq's command line: worker, jobs, queues, schema, doctor, dashboard …"
    # To apply the schema has to be possible before all is well.
    requires_system_checks: ClassVar[list[str]] = []

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
            code = _program().run(options["arguments"], alias)
        except click.ClickException as error:
            raise CommandError(error.format_message(), returncode=error.exit_code) from error
        except click.Abort:
            raise CommandError("aborted", returncode=1) from None
        if isinstance(code, int) and code:
            sys.exit(code)


def _program() -> Any:
    # By its name: the command line is above all that extras bring.
    return import_module("taskq.cli.django")


def _help() -> str:
    return (
        f"{_program().help_text()}\n\n"
        "  Before the command: --database ALIAS, one of DATABASES in place of TASKQ['DATABASE'];\n"
        "  and Django's own --settings, --pythonpath and --traceback.\n"
    )
