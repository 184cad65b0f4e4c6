"""How the demo prints: sentences fit, a command to paste is a line of its own."""

import shlex

from rich.console import Console
from rich.text import Text

from taskq.cli.listing import console
from taskq.cli.prose import print_command, print_hanging
from taskq.escaping import escaped

_INDENT = "  "

_WIDTH_ELSEWHERE = 80  # cells, where there is no terminal: its sentences are for people there too


def paper() -> Console:
    """Where the demo prints."""
    return console(_WIDTH_ELSEWHERE)


def say(said: str, *, head: str = "") -> None:
    """Print a sentence, beside what stands before its first line."""
    print_hanging(paper(), Text(head), escaped(said))


def command(line: str) -> None:
    """Print a command to paste, or a comment on one: as it is, however long."""
    print_command(paper(), Text(f"{_INDENT}{line}"))


def word(text: str) -> str:
    """The text as a word for bash, in which nothing steers the terminal that it is pasted from."""
    if text.isprintable():
        return shlex.quote(text)
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{escaped(quoted)}'"
