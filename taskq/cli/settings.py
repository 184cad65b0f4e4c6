"""What all commands share: the app, and how much is said."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

from taskq.app import App
from taskq.cli.command import variable_of
from taskq.database.database import Database
from taskq.exceptions import LoadFromPathError, TaskqException
from taskq.manager import JobManager
from taskq.schema import SchemaManager

APP_VARIABLE = "TASKQ_APP"
VERBOSE_VARIABLE = "TASKQ_VERBOSE"

Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


@dataclass
class Settings:
    """What was said before or after the name of the command.

    Attributes:
        app_path: Where the app is.
        verbose: Whether to show tracebacks and debug logs.
    """

    app_path: str | None = None
    verbose: bool = False

    def app(self) -> App:
        """Import the app; modules of the working directory can be imported.

        Raises:
            LoadFromPathError: The path leads to no app.
            UsageError: There is no path.
        """
        if self.app_path is None:
            raise click.UsageError(
                "which app? Say it with --app module.path:attribute, as in --app shop.jobs:app, or "
                f"in the variable {APP_VARIABLE}"
            )
        # As `python -m` has it, also for the program that pip installs.
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            return App.from_path(self.app_path)
        except TaskqException:
            raise
        except (Exception, SystemExit) as error:
            raise LoadFromPathError(
                f"the app {self.app_path!r} cannot be imported: its module raises "
                f"{type(error).__name__}: {error}; mend that (-v shows where)"
            ) from error

    @contextmanager
    def database(self, named: str | None) -> Iterator[Database]:
        """Open the database: the one that is named, or else the app's, or else the environment's.

        Raises:
            InvalidDatabase: It is not one that taskq can use.
            DatabaseNotConfigured: None is named anywhere, and there is no embedded server.
        """
        if named is None and self.app_path is not None:
            opened = self.app().database
        else:
            opened = Database.resolve(named)
        if named is not None:
            opened.origin = database_named_by()
        try:
            yield opened
        finally:
            opened.close()

    @contextmanager
    def job_manager(self, named: str | None) -> Iterator[JobManager]:
        """Open the database as ``database`` does, and see to it that this taskq works on it.

        Raises:
            SchemaNotApplied: It lacks what this version of taskq needs.
            SchemaTooNew: A newer version has taken away what this one needs.
            MigrationEdited: It has another migration of a number.
        """
        with self.database(named) as database:
            SchemaManager(database).check()
            yield JobManager(database)


def database_named_by() -> str:
    """Where the value of ``--database`` comes from, which has a variable too; for messages."""
    context = click.get_current_context()
    [option] = [option for option in context.command.params if option.name == "database"]
    return f"named by {variable_of(context, option) or '--database'}"


pass_settings: Final = click.make_pass_decorator(Settings, ensure=True)


def _app_given(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    settings = context.ensure_object(Settings)
    # The variable is there for the program and for each command: it must not win over what the line
    # says before the command's name.
    said = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    if value is not None and (said or settings.app_path is None):
        settings.app_path = value


def _verbose_given(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).verbose = True


def app_option() -> Callable[[Command], Command]:
    """``--app``, before the command's name or after it, where it wins."""
    return click.option(
        "--app",
        envvar=APP_VARIABLE,
        metavar="PATH",
        expose_value=False,
        callback=_app_given,
        help=f"The app, as module.path:attribute or with dots alone; else {APP_VARIABLE} names it.",
    )


database_option: Final = click.option(
    "--database",
    metavar="URL",
    help="The database, instead of the app's. With neither it is the one that TASKQ_DATABASE_URL or "
    "libpq's variables name, or else the embedded server.",
)

verbose_option: Final = click.option(
    "-v",
    "--verbose",
    envvar=VERBOSE_VARIABLE,
    is_flag=True,
    expose_value=False,
    callback=_verbose_given,
    help="Show tracebacks and debug logs.",
)
