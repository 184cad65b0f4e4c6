"""Workers of the release before run on the schema that the next one has prepared, beside workers of that one.

The release before is the newest tag of git, or what ``TASKQ_TEST_RELEASE_BEFORE`` names: another tag, or the
file of a wheel. As long as nothing is released, it is what is checked out, and the next one a copy of it with
migrations that might come.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

import psycopg
import pytest

from tests.schema.conftest import COMING, Url
from tests.sql.sqlc import ROOT

APP = """
from taskq import App

app = App()


@app.task(name="work", store_result=True)
async def work(number: int) -> int:
    return number


@app.task(name="fail", retry=1)
async def fail(number: int) -> None:
    raise ValueError(number)
"""


class Release(NamedTuple):
    """A release: where Python finds it."""

    path: Sequence[Path]

    def environment(self, folder: Path, url: str) -> dict[str, str]:
        places = os.pathsep.join(map(str, [*self.path, folder]))
        return {**os.environ, "PYTHONPATH": places, "TASKQ_DATABASE_URL": url}


@pytest.fixture
def before(tmp_path: Path) -> Release | None:
    """The release before, if there is one."""
    named = os.environ.get("TASKQ_TEST_RELEASE_BEFORE") or newest_tag()
    if not named:
        return None
    folder = tmp_path / "before"
    if named.endswith(".whl"):
        with zipfile.ZipFile(named) as wheel:
            wheel.extractall(folder)  # noqa: S202 - of our own
        return Release([folder])
    packed = subprocess.run(["git", "archive", named], cwd=ROOT, check=True, capture_output=True)
    with tarfile.open(fileobj=BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return Release([folder, folder / "generated"])


def newest_tag() -> str:
    """The newest tag before what is checked out; none if nothing is released, or there is no git."""
    command = ["git", "describe", "--tags", "--abbrev=0", "HEAD~1"]
    try:
        return subprocess.run(
            command, cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


@pytest.fixture
def releases(before: Release | None, tmp_path: Path) -> tuple[Release, Release]:
    """The release before and the next one."""
    present = Release([ROOT, ROOT / "generated"])
    if before is not None:
        return before, present
    copy = tmp_path / "next"
    for name in ("taskq", "generated", "sql"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    migrations = copy / "sql" / "migrations"
    number = len(list(migrations.glob("*.sql")))
    for more, (name, statements) in enumerate(COMING.items(), start=1):
        (migrations / f"{number + more:04}_{name}.sql").write_text(statements)
    return present, Release([copy, copy / "generated"])


class Program:
    """The program of a release, on one database."""

    def __init__(self, release: Release, folder: Path, url: str) -> None:
        self._folder = folder
        self._environment = release.environment(folder, url)

    def run(self, *arguments: str, succeeds: bool = True) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "taskq", *arguments],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) == succeeds, done.stderr
        return done.stdout + done.stderr

    @contextmanager
    def worker(self, name: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a worker; it ends with what it is for."""
        command = ["worker", "--app", "release_app:app", "--name", name, "--concurrency", "5"]
        log = self._folder / f"{name}.log"
        with (
            log.open("w") as said,
            subprocess.Popen(
                [sys.executable, "-m", "taskq", *command],
                cwd=self._folder,
                env=self._environment,
                stderr=said,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                assert process.wait(30) == 0, log.read_text()


@pytest.mark.slow
def test_workers_of_two_releases_run_side_by_side_until_the_older_ones_have_gone(
    releases: tuple[Release, Release],
    url_in: Url,
    connection: psycopg.Connection,
    tmp_path: Path,
) -> None:
    (tmp_path / "release_app.py").write_text(APP)
    old, new = (Program(release, tmp_path, url_in("shop")) for release in releases)
    connection.execute("SET search_path TO shop")

    def defer(program: Program, number: int) -> None:
        program.run(
            "defer", "--app", "release_app:app", "--lock", "a", "work", f'{{"number": {number}}}'
        )
        # As many as both workers get some of.
        connection.execute(
            "SELECT taskq_defer_jobs(jsonb_agg(jsonb_build_object("
            "'task_name', CASE WHEN n < 10 THEN 'fail' ELSE 'work' END, "
            "'args', jsonb_build_object('number', n)))) FROM generate_series(1, 300) AS n"
        )

    def until_all_ended(ended_by: set[str], by: Program) -> None:
        deadline = monotonic() + 60
        while True:
            row = connection.execute(
                "SELECT count(*) FILTER (WHERE status IN ('todo', 'doing')), count(*) FROM taskq_jobs"
            ).fetchone()
            assert row
            names = connection.execute(
                "SELECT DISTINCT name FROM taskq_jobs INNER JOIN taskq_workers AS worker "
                "ON worker.id = worker_id WHERE taskq_jobs.id > %s",
                [reached],
            ).fetchall()
            if row[0] == 0 and {name for (name,) in names} >= ended_by:
                return
            if row[0] == 0:
                defer(by, 9)
            assert monotonic() < deadline, (row, names)
            sleep(0.05)

    reached = 0
    old.run("schema", "apply")
    with old.worker("older"):
        defer(old, 1)
        until_all_ended({"older"}, old)
        applied = new.run("schema", "apply", "--pre")
        assert applied
        with new.worker("newer"):
            for number, program in enumerate((old, new), start=2):
                defer(program, number)
            until_all_ended({"older", "newer"}, old)
            old.run("jobs", "list")
            new.run("jobs", "list")
    # The older ones have gone: what was in their way is removed.
    new.run("schema", "apply")
    refused = old.run("worker", "--app", "release_app:app", "--no-wait", succeeds=False)
    assert "install that" in refused
    [(reached,)] = connection.execute("SELECT max(id) FROM taskq_jobs").fetchall()
    with new.worker("newest"):
        defer(new, 6)
        until_all_ended({"newest"}, new)
    ends = connection.execute(
        "SELECT task_name, status::text, claim, crashes, count(*) FROM taskq_jobs GROUP BY 1, 2, 3, 4"
    ).fetchall()
    counted = {tuple(end[:4]): end[4] for end in ends}
    assert counted.keys() == {("work", "succeeded", 1, 0), ("fail", "failed", 2, 0)}
    wrong = connection.execute(
        "SELECT id FROM taskq_jobs WHERE task_name = 'work' AND result <> args -> 'number'"
    ).fetchall()
    assert wrong == []
