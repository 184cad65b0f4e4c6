"""The code in the documentation runs as printed."""

import json
from pathlib import Path

import psycopg
import pytest

from benchmarks.tables import FOUND, PAGE, splice
from taskq import App
from taskq.database.database import URL_VARIABLE
from tests.walk import Walk, blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


def test_the_readme_says_what_one_sees(tmp_path: Path, bare_url: str) -> None:
    walk = Walk(ROOT / "README.md", tmp_path, bare_url)
    assert len(walk.commands) == 3
    for command in walk.commands:
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
