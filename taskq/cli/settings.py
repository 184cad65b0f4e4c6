"""What all commands share: the app, and how much is said."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from taskq.app import App
from taskq.exceptions import LoadFromPathError, TaskqException

APP_VARIABLE = "TASKQ_APP"

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


pass_settings = click.make_pass_decorator(Settings, ensure=True)


def _app_given(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Settings).app_path = value


def _verbose_given(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).verbose = True


def app_option(*, envvar: str | None = None) -> Callable[[Command], Command]:
    """``--app``; before the command's name it has an environment variable, after it it wins."""
    return click.option(
        "--app",
        envvar=envvar,
        metavar="PATH",
        expose_value=False,
        callback=_app_given,
        help=f"The app, as module.path:attribute or with dots alone; else {APP_VARIABLE} names it.",
    )


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_verbose_given,
    help="Show tracebacks and debug logs.",
)
