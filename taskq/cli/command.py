"""What is alike in the help of all commands."""

from typing import Any

import click
from click.core import ParameterSource

# What every command has, and says of itself.
_SHARED = {"app", "verbose", "help"}


def variable_of(context: click.Context, parameter: click.Parameter) -> str | None:
    """The environment variable that an option's value comes from; None if it comes from elsewhere."""
    name = str(parameter.name)
    if context.get_parameter_source(name) is not ParameterSource.ENVIRONMENT:
        return None
    return str(parameter.envvar or f"{context.auto_envvar_prefix}_{name.upper()}")


class Command(click.Command):
    """A command whose help ends with the variables of its options, and teaches by one example.

    Args:
        example: A command line, from the command's name on.
    """

    def __init__(self, *args: Any, example: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
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


class Group(click.Group):
    """A group of such commands."""

    command_class: type[click.Command] | None = Command
