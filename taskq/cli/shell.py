"""``taskq shell``: the same commands, typed one after the other."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import click
from click.shell_completion import ShellComplete

from taskq.cli.command import command
from taskq.cli.settings import Settings
from taskq.escaping import escaped

_PROMPT = "taskq> "

_EPILOG = """\
help shows the commands, exit or Ctrl-D ends. What is piped into it is run line by line, and ends at the
first command that fails, with its exit code; from # on a line is a comment.
"""


@command(epilog=_EPILOG, example="shell --app shop.jobs:app", database=False)
@click.pass_context
def shell(context: click.Context, /, settings: Settings) -> None:
    """Run commands that are typed, without python -m taskq in front, and with completion.

    What is said here, such as --app, holds for all of them.
    """
    program = context.find_root().command
    is_typed = sys.stdin.isatty()
    if is_typed:
        _complete(program, settings)
        click.echo("help shows the commands, exit ends.")
    for line in _typed() if is_typed else sys.stdin:
        if line.strip() in {"exit", "quit"}:
            break
        code = _run(program, settings, line)
        if code and not is_typed:
            context.exit(code)


def _typed() -> Iterator[str]:
    while True:
        try:
            yield input(_PROMPT)
        except KeyboardInterrupt:
            click.echo()
        except EOFError:
            click.echo()
            return


def _run(program: click.Command, settings: Settings, line: str) -> int:
    """Run a line; returns its exit code."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        click.echo(f"Error: {escaped(line.strip())} is no command line: {error}", err=True)
        return 2
    match words:
        case []:
            return 0
        case ["help", *command]:
            words = [*command, "--help"]
    try:
        with _environment_kept():
            # What a line says of the app is that line's alone.
            ended = program.main(words, prog_name="", standalone_mode=False, obj=replace(settings))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("aborted", err=True)
        return 1
    return ended if isinstance(ended, int) else 0


@contextmanager
def _environment_kept() -> Iterator[None]:
    # A command may name its database there for what it imports: the next one has another.
    kept = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _complete(program: click.Command, settings: Settings) -> None:
    """Have the Tab key complete what is typed, where Python comes with readline."""
    with suppress(ImportError):
        import readline  # noqa: PLC0415

        found: Sequence[str] = ()

        def completed(text: str, state: int) -> str | None:
            nonlocal found
            if state == 0:
                found = _completions(
                    program, settings, readline.get_line_buffer()[: readline.get_begidx()], text
                )
            return found[state] if state < len(found) else None

        readline.set_completer(completed)
        readline.set_completer_delims(" \t\n")
        readline.parse_and_bind("tab: complete")


def _completions(
    program: click.Command, settings: Settings, before: str, text: str
) -> Sequence[str]:
    try:
        words = shlex.split(before)
    except ValueError:
        return ()
    completing = ShellComplete(program, {"obj": replace(settings)}, "", "")
    return [f"{item.value} " for item in completing.get_completions(words, text)]
