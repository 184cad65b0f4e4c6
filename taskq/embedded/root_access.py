"""How root lets a server that runs as another user through to the server's files.

A path can be reached only if each directory above it grants ``x``. ``RootAccess`` grants ``o+x``, and
nothing more, to those that lack it, and takes it back when the last process that needs it leaves.
"""

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from taskq.embedded.flock import Share, exclusive

# One record for each directory that taskq opened. They are the machine's, not one server's: two
# servers in two folders may need the same directory, an installation under /root for one, and the
# first to leave must not close it to the other. Modes survive a reboot, so the records do too.
RECORDS = Path("/var/lib/taskq/opened")


class RootAccess:
    """The directories that one user of a server needs passable; for root only."""

    def __init__(self) -> None:
        self._needed: dict[Path, Share] = {}

    def open(self, *paths: Path) -> list[Path]:
        """Let other users pass through every directory above some paths.

        Args:
            paths: Absolute paths without symbolic links.

        Returns:
            The directories that were closed until now.

        Raises:
            OSError: A directory or its record cannot be changed.
        """
        directories = sorted({parent for path in paths for parent in path.parents})
        if all(map(_is_open, directories)) and not RECORDS.exists():
            return []
        with _records():
            return [directory for directory in directories if self._open(directory)]

    def close(self) -> None:
        """Take back what was granted, where no other process needs it. Does nothing twice."""
        if not self._needed:
            return
        with _records():
            while self._needed:
                directory, share = self._needed.popitem()
                if share.leave():
                    if directory.exists():
                        directory.chmod(_mode(directory) & ~stat.S_IXOTH)
                    _record(directory).unlink(missing_ok=True)

    def _open(self, directory: Path) -> bool:
        record = _record(directory)
        was_open = _is_open(directory)
        # A record beside an open directory: another process needs it too, or was killed and could
        # not close it, which then falls to us.
        if directory not in self._needed and (record.exists() or not was_open):
            self._needed[directory] = Share(record)
        if was_open:
            return False
        # Before the change, so that a crash leaves no directory open without a record of it.
        note = {"directory": str(directory), "mode": f"{_mode(directory):04o}"}
        record.write_text(json.dumps(note))
        directory.chmod(_mode(directory) | stat.S_IXOTH)
        return True


@contextmanager
def _records() -> Iterator[None]:
    RECORDS.mkdir(mode=0o700, parents=True, exist_ok=True)
    with exclusive(RECORDS / "mutex"):
        yield


def _record(directory: Path) -> Path:
    # A path may be longer than a file's name can be.
    return RECORDS / f"{sha256(bytes(directory)).hexdigest()[:32]}.json"


def _is_open(directory: Path) -> bool:
    return bool(_mode(directory) & stat.S_IXOTH)


def _mode(directory: Path) -> int:
    return stat.S_IMODE(directory.stat().st_mode)
