"""The code in the documentation runs as printed."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from benchmarks.tables import FOUND, PAGE, splice
from taskq import App
from taskq.database.database import URL_VARIABLE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


# The first line of a block that is a file of its own.
_FILE = re.compile(r"# (\w+\.py)\b")


def blocks(page: Path, language: str) -> list[str]:
    """A page's fenced blocks of a language, in order: later ones build on earlier ones."""
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block for block in found if not _FILE.match(block)]


def files(page: Path) -> dict[str, str]:
    """A page's files: the blocks that begin with a name."""
    found = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return {named[1]: block for block in found if (named := _FILE.match(block))}


def with_blocks(language: str) -> list[Path]:
    pages = [page for page in PAGES if blocks(page, language)]
    assert pages, f"no page has {language}: the pattern no longer finds it"
    return pages


@pytest.mark.parametrize("page", with_blocks("python"), ids=lambda page: page.name)
def test_python_runs_as_printed(
    page: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL_VARIABLE, database_url)
    source = "\n".join(blocks(page, "python"))
    names: dict[str, object] = {"__name__": page.stem}
    try:
        exec(compile(source, page.name, "exec"), names)  # noqa: S102
    finally:
        for value in names.values():
            if isinstance(value, App):
                value.close()


@pytest.mark.parametrize("page", with_blocks("sql"), ids=lambda page: page.name)
def test_sql_runs_as_printed(page: Path, connection: psycopg.Connection) -> None:
    for block in blocks(page, "sql"):
        connection.execute(block.encode())
    row = connection.execute("SELECT count(*) FROM taskq_jobs").fetchone()
    assert row
    assert row[0] > 0


def test_the_figures_of_the_page_on_performance_are_those_that_were_measured() -> None:
    page = PAGE.read_text()
    assert page == splice(page, json.loads(FOUND.read_text()))


class Walk:
    """The files of a page in a folder, and its commands run there as a reader runs them."""

    def __init__(self, page: Path, folder: Path, database_url: str) -> None:
        self.folder = folder
        self.environ = os.environ | {URL_VARIABLE: database_url, "PYTHONUNBUFFERED": "1"}
        for name, text in files(page).items():
            (folder / name).write_text(text)
        # Each command, with what the page says that it prints.
        self.commands: dict[str, list[str]] = {}
        for block in blocks(page, "console"):
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, *said = step.splitlines()
                self.commands[command] = said

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> list[str]:
        with self.start(*arguments) as running:
            said, _ = running.communicate(timeout=60)
        assert running.returncode == 0
        return said.splitlines()

    def follow(self, command: str) -> None:
        """Run a command of the page, a worker until it has printed what the page says."""
        said = self.commands.pop(command)
        python, *arguments = shlex.split(command)
        assert python == "python"
        if "worker" not in arguments:
            shown = self.run(*arguments)
            if said[-1:] == ["…"]:  # and so on
                said, shown = said[:-1], shown[: len(said) - 1]
            assert shown == said
            return
        with self.start(*arguments) as worker:
            assert worker.stdout
            assert [worker.stdout.readline().rstrip() for _ in said] == said
            worker.terminate()
        assert worker.returncode == 0


def test_the_readme_says_what_one_sees(tmp_path: Path, bare_url: str) -> None:
    walk = Walk(ROOT / "README.md", tmp_path, bare_url)
    assert len(walk.commands) == 3
    for command in list(walk.commands):
        walk.follow(command)


@pytest.mark.slow
def test_a_task_in_a_process_of_its_own_does_what_the_page_says(
    tmp_path: Path, bare_url: str
) -> None:
    walk = Walk(ROOT / "docs" / "processes.md", tmp_path, bare_url)
    assert list(walk.commands) == ["python reports.py"]
    walk.follow("python reports.py")


FASTAPI = """
from fastapi.testclient import TestClient
from web_fastapi import web
with TestClient(web) as client:
    print(client.post("/orders/17", params={"to": "ada@example.org"}).json()["job_id"])
    print(client.get("/jobs/1").json()["status"])
"""
FLASK = """
from web_flask import web
client = web.test_client()
print(client.post("/orders/17", query_string={"to": "ada@example.org"}).json["job_id"])
print(client.get("/jobs/1").json["status"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("web", [FASTAPI, FLASK], ids=["fastapi", "flask"])
def test_the_first_app_runs_behind_a_web_application(
    web: str, tmp_path: Path, bare_url: str
) -> None:
    walk = Walk(ROOT / "docs" / "first-app.md", tmp_path, bare_url)
    apply, worker = walk.commands
    walk.follow(apply)
    assert walk.run("-c", web) == ["1", "todo"]
    walk.follow(worker)
    status = "from tasks import app; print(app.job_manager.get_job(1).status)"
    assert walk.run("-c", status) == ["succeeded"]
