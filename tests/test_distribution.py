"""What is installed: under which name (PyPI's `taskq` is another project), and what tests need of it."""

import re
import shutil
import sysconfig
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

# A command that has to do with packages and then names taskq alone, or an extra of it.
_ELSEWHERE = re.compile(
    r"\b(?:pip|pipx|uv|uvx|poetry|pdm|conda)\b[^\n`&:]*?[\s'\"]taskq(?![\w./-])(?=[\s'\"\[)`,;=<>~]|$)"
    r"|(?<![\w.-])taskq\\?\[(?:embedded|dev|bench|uvloop)",
    re.MULTILINE,
)


def texts() -> Iterator[Path]:
    """Everything that a person reads a hint in: code, SQL, pages and settings."""
    yield from (ROOT / name for name in ("README.md", "CHANGELOG.md", "pyproject.toml", ".ci/run"))
    for folder in ("taskq", "sql", "docs", "tests", "benchmarks", "tools", "generated"):
        yield from (
            path
            for path in (ROOT / folder).rglob("*")
            if path.suffix in {".py", ".md", ".sql", ".yaml"} and path != Path(__file__)
        )


def test_no_hint_installs_the_package_of_another_project() -> None:
    for bad in (
        "pip install --upgrade taskq)",
        "pip install 'taskq[embedded]'",
        "uv add taskq",
        '"taskq[dev]",',
        r"pip install 'taskq\[embedded\]'",
    ):
        assert _ELSEWHERE.search(bad), bad
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in texts()
        for match in _ELSEWHERE.finditer(path.read_text())
    }
    assert not found


def test_the_command_and_the_import_are_called_taskq() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["name"] == "taskq-sql"
    assert list(project["scripts"]) == ["taskq"]


def test_the_tests_find_the_tools_that_are_installed_beside_pytest() -> None:
    beside = sysconfig.get_path("scripts")
    for tool in ("sqlc", "squawk", "mypy", "pyright", "ruff", "lint-imports"):
        assert shutil.which(tool) == shutil.which(tool, path=beside) is not None, tool
