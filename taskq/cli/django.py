"""The program as ``manage.py taskq``: where Django's settings say which app and which database.

Imported by that command alone, and by its name, as an extra knows nothing of the command line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import click
from django.conf import settings as django_settings

from taskq.app import App
from taskq.cli.program import program
from taskq.cli.settings import Settings
from taskq.contrib.django import get_app
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
        return super().database


def run(arguments: Sequence[str], alias: str | None) -> Any:
    """Run a command line; answers its exit code, if it is not 0.

    Args:
        arguments: The command and what it is given.
        alias: The database in place of that of the settings.

    Raises:
        ClickException: It failed, or is wrong.
        Abort: It was not confirmed.
    """
    return program.main(
        args=list(arguments),
        prog_name=_NAME,
        obj=DjangoSettings(alias=alias),
        standalone_mode=False,
    )


def help_text() -> str:
    """The help of the program."""
    with click.Context(program, info_name=_NAME) as context:
        return program.get_help(context)
