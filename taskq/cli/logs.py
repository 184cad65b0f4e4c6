"""Logging to stderr, for programs that have not set up their own."""

import logging
import sys
from typing import TextIO

from taskq.escaping import escaped

_CONTINUED = "    "


class EscapingFormatter(logging.Formatter):
    """One line per record, whatever is in it; a traceback follows, each line of it indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The record's line."""
        record.message = escaped(record.message)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The record's line, and the traceback if it has one."""
        first, *others = super().format(record).splitlines()
        # The message of an exception may have lines of its own: indented they can forge no record.
        return "\n".join([first, *(_CONTINUED + escaped(line) for line in others)])


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever stderr is at the time: a progress bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stderr
        super().emit(record)


def set_up(*, verbose: bool, level: int = logging.INFO, of_several: bool = False) -> None:
    """Log to stderr, unless the app has set up logging when it was imported.

    Args:
        verbose: Whether to log in detail.
        level: From which level on, otherwise.
        of_several: Whether each line names the process, as there are several.
    """
    handler = _Stderr()
    process = "%(processName)s[%(process)d] " if of_several else ""
    handler.setFormatter(
        EscapingFormatter(f"%(asctime)s %(levelname)s {process}%(name)s: %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if verbose else level)
    if verbose:  # also where the app has set it up
        logging.getLogger("taskq").setLevel(logging.DEBUG)
