"""Sentences and commands on a terminal: a sentence is wrapped, a command to paste never is."""

from rich.console import Console
from rich.text import Text

_NARROWEST = 20  # cells that are left beside a head


def print_hanging(terminal: Console, head: Text, said: str, style: str = "") -> None:
    """Print a sentence beside its head, however many lines it takes.

    Args:
        terminal: Where to print it, as wide as it says.
        head: What stands before the first line; the other ones are indented by its length.
        said: The sentence, escaped.
        style: How rich is to show it.
    """
    for line in Text(said, style).wrap(terminal, max(_NARROWEST, terminal.width - len(head))):
        line.rstrip()
        terminal.print(head + line, soft_wrap=True)
        head = Text(" " * len(head))


def print_command(terminal: Console, command: Text) -> None:
    """Print a command in one line, however long: what is pasted of a wrapped one would be another one."""
    terminal.print(command, soft_wrap=True)
