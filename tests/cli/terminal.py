"""The program on a terminal, as a person has it."""

import os
import pty
import re
import select
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.cli.conftest import process

PATIENCE = 20  # seconds


class Terminal:
    """A program's terminal: what it shows, and what is typed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.shown = ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C until it answers: Python's readline loses one that comes while it takes in a key."""
        for _ in range(PATIENCE):
            self.type("\x03")
            if select.select([self._descriptor], [], [], 1)[0]:
                return

    def interrupted(self) -> str:
        """Press Ctrl-C until it has ended; returns what it showed last.

        Python loses one that comes while it calls a finalizer, as it does all the time.
        """
        for _ in range(PATIENCE):
            self.type("\x03")
            if self._ends_within(1):
                return self.shown
        raise AssertionError(f"Ctrl-C does not end it, after {self.shown!r}")

    def until(self, pattern: str) -> str:
        """Read until it shows something; returns all that it has shown since the last call."""
        while not (match := re.search(pattern, self.shown)):
            assert self._read(), f"it ended and did not show {pattern!r}: {self.shown!r}"
        shown, self.shown = self.shown[: match.end()], self.shown[match.end() :]
        return shown

    def rest(self) -> str:
        """Read until the program has ended; returns what it showed last."""
        assert self._ends_within(PATIENCE), f"it does not end, after {self.shown!r}"
        return self.shown

    def _ends_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._descriptor], [], [], left)[0] and not self._read():
                return True
        return False

    def _read(self) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], PATIENCE)
        assert ready, f"it shows no more, after {self.shown!r}"
        try:
            read = os.read(self._descriptor, 65536).decode()
        except OSError:  # how Linux says that the other end is closed
            read = ""
        self.shown += read
        return bool(read)


@contextmanager
def on_terminal(*arguments: str, columns: int = 0, **options: object) -> Iterator[Terminal]:
    """Run the program on a terminal of its own.

    Args:
        *arguments: The program's.
        columns: How wide it is; 0 if it does not say.
        **options: For the process, such as other places for its output.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24 if columns else 0, columns))
    try:
        with process(
            *arguments,
            **({"stdin": theirs, "stdout": theirs, "stderr": theirs} | options),  # type: ignore[arg-type]
            # Ctrl-C reaches only those whose terminal it is. Not by a preexec_fn, which may hang where
            # the tests have threads.
            launcher=["setsid", "--ctty"],
        ):
            os.close(theirs)
            yield Terminal(ours)
    finally:
        os.close(ours)
