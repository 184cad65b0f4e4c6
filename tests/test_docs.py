"""The code in the documentation runs as printed."""

import json
import re
from pathlib import Path

import psycopg
import pytest

from benchmarks.tables import FOUND, PAGE, splice
from taskq import App
from taskq.database import URL_VARIABLE

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """A page's fenced blocks of a language, in order: later ones build on earlier ones."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


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
