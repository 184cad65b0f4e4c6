"""How a command is declared: the options that commands share, and what is alike in their help."""

from collections.abc import Callable
from typing import Any, Final

import click
from click.core import ParameterSource

from taskq.cli.settings import APP_VARIABLE, Settings

# What every command has, and says of itself.
_SHARED = {"app", "verbose", "help"}

_pass_settings = click.make_pass_decorator(Settings, ensure=True)


def variable_of(context: click.Context, parameter: click.Parameter) -> str | None:
    """The environment variable that an option's value comes from; None if it comes from elsewhere."""
    name = str(parameter.name)
    if context.get_parameter_source(name) is not ParameterSource.ENVIRONMENT:
        return None
    return str(parameter.envvar or f"{context.auto_envvar_prefix}_{name.upper()}")


def _set_app(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    settings = context.ensure_object(Settings)
    # The variable is there for the program and for each command: it must not win over what the line
    # says before the command's name.
    said = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
    if value is not None and (said or settings.app_path is None):
        settings.app_path = value


def set_database(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Take the value of ``--database``; for its ``callback``."""
    settings = context.ensure_object(Settings)
    settings.database_url = value
    settings.database_origin = f"named by {variable_of(context, parameter) or '--database'}"


def _set_verbose(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Settings).verbose = True


# Before the command's name or after it, where it wins.
app_option: Final = click.Option(
    ["--app"],
    envvar=APP_VARIABLE,
    metavar="PATH",
    expose_value=False,
    callback=_set_app,
    help=f"The app, as module.path:attribute or with dots alone; else {APP_VARIABLE} names it.",
)

_database_option = click.Option(
    ["--database"],
    metavar="URL",
    expose_value=False,
    callback=set_database,
    help="The database, instead of the app's. With neither it is the one that TASKQ_DATABASE_URL or "
    "libpq's variables name, or else the embedded server.",
)

_json_option = click.Option(["--json"], is_flag=True, help="Print JSON, for programs.")

verbose_option: Final = click.Option(
    ["-v", "--verbose"],
    envvar="TASKQ_VERBOSE",
    is_flag=True,
    expose_value=False,
    callback=_set_verbose,
    help="Show tracebacks and debug logs.",
)


def number_option(
    name: str,
    metavar: str,
    default: int,
    says: str,
    *,
    at_least: int = 1,
    at_most: int | None = None,
) -> Callable[[Any], Any]:
    """An option that takes a number of things, and shows its default."""
    return click.option(
        name,
        metavar=metavar,
        type=click.IntRange(at_least, at_most),
        default=default,
        show_default=True,
        help=says,
    )


class Command(click.Command):
    """A command with the options that commands share, whose help ends with their variables and an example.

    Its function gets the ``Settings`` first, then the values of the command's own options.

    Args:
        example: A command line, from the command's name on.
        app: Whether it has ``--app``.
        database: Whether it has ``--database``.
        json: Whether it has ``--json``, whose value its function gets too.
        own_options_first: Whether its own options come before ``--app``, and not after ``--database``.
    """

    def __init__(
        self,
        *,
        callback: Callable[..., Any],
        params: list[click.Parameter],
        example: str,
        app: bool = True,
        database: bool = True,
        json: bool = False,
        own_options_first: bool = False,
        **attributes: Any,
    ) -> None:
        where = [option for option, has in ((app_option, app), (_database_option, database)) if has]
        how = [option for option, has in ((_json_option, json), (verbose_option, True)) if has]
        first, second = (params, where) if own_options_first else (where, params)
        super().__init__(
            callback=_pass_settings(callback), params=[*first, *second, *how], **attributes
        )
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what follows the options."""
        super().format_epilog(ctx, formatter)
        own = [
            parameter.name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and parameter.name not in _SHARED
        ]
        if own and ctx.auto_envvar_prefix:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(
                    "Each option is an environment variable too, such as "
                    f"{ctx.auto_envvar_prefix}_{str(own[0]).upper()}; what the command line says wins."
                )
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text("Example:")
            with formatter.indentation():
                # As it is: a line to copy is not to be wrapped.
                formatter.write(f"{'':{formatter.current_indent}}python -m taskq {self.example}\n")


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a command of a function, by default with its name; see ``Command`` for what it takes."""
    return click.command(name, cls=Command, **attributes)


class Group(click.Group):
    """A group of such commands."""

    command_class: type[click.Command] | None = Command
