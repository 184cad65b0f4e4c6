"""Locks on files, which the kernel lets go of when their holder dies, however it dies.

They are ``flock`` locks, hence POSIX only. Such a lock belongs to an open file, not to a process:
two objects in one process hold two, and threads exclude each other as processes do.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock while the block runs, after waiting for its present holder.

    Args:
        path: The file to lock; created if it does not exist.

    Raises:
        OSError: The file cannot be opened or created.
    """
    file = _open(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        _close(file)


class Share:
    """A part in something that the last one to leave clears away.

    Take and leave shares of the same file under one ``exclusive`` lock.

    Args:
        path: The file whose holders are counted; created if it does not exist.

    Raises:
        OSError: The file cannot be opened or created.
    """

    def __init__(self, path: Path) -> None:
        self._file = _open(path)
        fcntl.flock(self._file, fcntl.LOCK_SH)

    def leave(self) -> bool:
        """Give up this share, for good.

        Returns:
            Whether it was the last one: who was killed no longer counts.
        """
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            _close(self._file)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _close(file: int) -> None:
    # Closing alone would leave the lock to a child that was forked meanwhile and has a copy.
    fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)
