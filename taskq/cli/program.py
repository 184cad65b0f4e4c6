"""The program: its commands, and what becomes of an error in one of them."""

import io
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from taskq.cli.command import Group, app_option, variable_of, verbose_option
from taskq.cli.dashboard import dashboard
from taskq.cli.database import database
from taskq.cli.defer import defer
from taskq.cli.demo.command import demo
from taskq.cli.doctor import doctor
from taskq.cli.events import events
from taskq.cli.healthcheck import healthcheck
from taskq.cli.jobs import jobs
from taskq.cli.keys import keys
from taskq.cli.limits import limits
from taskq.cli.locks import locks
from taskq.cli.periodic import periodic
from taskq.cli.queues import queues
from taskq.cli.schema import schema
from taskq.cli.settings import Settings
from taskq.cli.shell import shell
from taskq.cli.tasks import tasks
from taskq.cli.watch.command import watch
from taskq.cli.worker import worker
from taskq.cli.workers import workers
from taskq.escaping import escaped
from taskq.exceptions import (
    DatabaseNotConfigured,
    EncryptionUnavailable,
    InvalidArguments,
    InvalidDatabase,
    InvalidEncryptionKey,
    InvalidFilter,
    InvalidJob,
    InvalidLimit,
    InvalidOption,
    LoadFromPathError,
    TaskNotFound,
    TaskqException,
)
from taskq.supervisor.exit_codes import INTERRUPTED

_LONGEST_MESSAGE = 1_000  # characters

# What only another command line or another environment can put right.
_USAGE = (
    DatabaseNotConfigured,
    EncryptionUnavailable,
    InvalidArguments,
    InvalidDatabase,
    InvalidEncryptionKey,
    InvalidFilter,
    InvalidJob,
    InvalidLimit,
    InvalidOption,
    LoadFromPathError,
    TaskNotFound,
)


class Program(Group):
    """The group of all commands: an error in one of them is one line and an exit code."""

    def make_context(self, *args: Any, **attributes: Any) -> click.Context:
        """Read what is said before the command's name."""
        with _in_one_line():
            return super().make_context(*args, **attributes)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that was named."""
        settings = ctx.ensure_object(Settings)
        try:
            with _in_one_line():
                return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise  # click's own business
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:
            if settings.verbose:
                for line in traceback.format_exc().splitlines():
                    click.echo(escaped(line), err=True)
            # The two differ in their exit codes.
            kind = click.UsageError if isinstance(error, _USAGE) else click.ClickException
            raise kind(escaped(_message(error))) from None


@contextmanager
def _in_one_line() -> Iterator[None]:
    # click shows the usage above each error of its own, and whatever was typed as it is.
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        path = f"{error.ctx.command_path} --help".lstrip() if error.ctx else ""
        hint = f" ({path} shows how)" if path else ""
        raise click.UsageError(
            _cut(escaped(f"{_from_variable(error)}{error.format_message()}")) + hint
        ) from None


def _cut(message: str) -> str:
    """A message without the middle of what was typed, of which click shows all."""
    if len(message) <= _LONGEST_MESSAGE:
        return message
    half = _LONGEST_MESSAGE // 2
    return f"{message[:half]}…{message[-half:]}"


def _from_variable(error: click.UsageError) -> str:
    """Where a value comes from, unless it is on the command line."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None:
        return ""
    variable = variable_of(error.ctx, error.param)
    return "" if variable is None else f"in the variable {variable}: "


def _message(error: Exception) -> str:
    if isinstance(error, TaskqException):
        return str(error)
    # SQLAlchemy adds the statement and its parameters, which may be secrets.
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = str(cause).strip().partition("\n")[0]
    return f"{type(cause).__name__}: {said} (-v shows where)"


@click.group(
    cls=Program,
    params=[app_option, verbose_option],
    context_settings={
        "auto_envvar_prefix": "TASKQ",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
    },
    epilog="Exit codes: 0 done, 1 failed, 2 the command line or what it names is wrong, 130 interrupted.",
)
@click.version_option(package_name="taskq-sql", message="taskq %(version)s")
def program() -> None:
    """taskq: a PostgreSQL task queue for Python.

    Begin with `python -m taskq demo`: it puts a queue to work on real files.
    """


for command in (
    dashboard,
    database,
    defer,
    demo,
    doctor,
    events,
    healthcheck,
    jobs,
    keys,
    limits,
    locks,
    periodic,
    queues,
    schema,
    shell,
    tasks,
    watch,
    worker,
    workers,
):
    program.add_command(command)


def main() -> None:
    """Run the program and exit."""
    # A name that the terminal's encoding has no letters for is no reason to fail.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    program()
