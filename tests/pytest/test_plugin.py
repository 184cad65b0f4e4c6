"""The plugin in a suite of a user's, in a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.walk import files

SHOP = """
from taskq import App

app = App("postgresql://nobody@nowhere/none")
sent = []


@app.task
def send_mail(to: str) -> None:
    sent.append(to)
"""
TESTS = """
from pathlib import Path

from shop import send_mail, sent


def test_a_job(jobs):
    send_mail.defer(to="ada")
    assert jobs.drain() == {"succeeded": 1}
    assert sent == ["ada"]


def test_another_one_starts_clean(jobs, taskq_database_url):
    assert jobs.deferred(send_mail) == []
    named = jobs.app.database.libpq_parameters()
    assert named["dbname"] in taskq_database_url
    Path("host").write_text(named["host"])


async def test_an_async_one(jobs):
    await send_mail.defer_async(to="bob")
    assert await jobs.drain_async() == {"succeeded": 1}
"""
# As strict as a suite may be.
INI = """
[pytest]
pythonpath = .
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
addopts = --strict-config --strict-markers
filterwarnings = error
{more}
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # What this run, and its project, say is not for that one.
    for name in list(os.environ):
        if name.startswith(("PYTEST_", "TASKQ_", "PG")):
            monkeypatch.delenv(name)
    pytester.makepyfile(shop=SHOP, test_shop=TESTS)
    pytester.makeini(INI.format(more="taskq_app = shop:app"))
    return pytester


def test_a_url_by_the_option_is_where_the_tests_run(
    suite: pytest.Pytester, taskq_server: str
) -> None:
    run = suite.runpytest_subprocess(f"--taskq-database-url={taskq_server}")
    run.assert_outcomes(passed=3)


@pytest.mark.slow
@pytest.mark.parametrize("named", ["ini", "variable"])
def test_or_by_the_configuration_or_the_environment(
    named: str, suite: pytest.Pytester, taskq_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if named == "ini":
        more = f"taskq_app = shop:app\ntaskq_database_url = {taskq_server}"
        suite.makeini(INI.format(more=more))
    else:
        monkeypatch.setenv("TASKQ_TEST_DATABASE_URL", taskq_server)
    suite.runpytest_subprocess("-k", "a_job").assert_outcomes(passed=1)


@pytest.mark.slow
def test_pytest_postgresql_says_where_its_server_is(
    suite: pytest.Pytester, pytestconfig: pytest.Config
) -> None:
    more = "taskq_app = shop:app\ntaskq_postgresql = postgresql_noproc"
    suite.makeini(INI.format(more=more))
    options = {
        name: pytestconfig.getoption(f"postgresql_{name}")
        for name in ("host", "port", "user", "password")
    }
    run = suite.runpytest_subprocess(
        "-k",
        "a_job",
        *(f"--postgresql-{name}={value}" for name, value in options.items() if value),
    )
    run.assert_outcomes(passed=1)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [0, 2])
def test_an_embedded_server_is_there_for_all_processes_and_gone_afterwards(
    processes: int, suite: pytest.Pytester
) -> None:
    run = suite.runpytest_subprocess(f"-n{processes}", "-pno:pytest_postgresql")
    run.assert_outcomes(passed=3)
    folder = Path((suite.path / "host").read_text()).parent
    assert folder.name.startswith("taskq-pytest-")
    assert not folder.exists()


@pytest.mark.slow
def test_the_suite_of_the_page_passes(suite: pytest.Pytester, taskq_server: str) -> None:
    page = files(Path(__file__).parents[2] / "docs" / "testing.md")
    assert page.pop("test_groups.py")  # is run with Django
    page["conftest.py"] += page.pop("conftest_tables.py")
    page["test_tables.py"] = (
        "def test_the_table_is_there(jobs):\n"
        "    with jobs.app.database.engine.connect() as connection:\n"
        "        assert connection.exec_driver_sql('SELECT count(*) FROM orders').scalar() == 0\n"
    )
    for name, text in page.items():
        (suite.path / name).write_text(text)
    run = suite.runpytest_subprocess(f"--taskq-database-url={taskq_server}")
    run.assert_outcomes(passed=5)


@pytest.mark.slow
def test_an_app_may_come_of_a_fixture(suite: pytest.Pytester, taskq_server: str) -> None:
    suite.makeini(INI.format(more=""))
    args = (f"--taskq-database-url={taskq_server}", "-k", "a_job")
    refused = suite.runpytest_subprocess(*args)
    refused.assert_outcomes(errors=1)
    refused.stdout.fnmatch_lines(["*name it in pytest's configuration, as in taskq_app = *"])
    suite.makeconftest(
        "import pytest, shop\n"
        "@pytest.fixture(scope='session')\n"
        "def taskq_app():\n"
        "    return shop.app\n"
        # Of the names that a suite may have for something else.
        "@pytest.fixture\n"
        "def app():\n"
        "    return 'a web application'\n"
    )
    suite.runpytest_subprocess(*args).assert_outcomes(passed=1)


def test_a_suite_that_does_not_use_it_is_as_it_was(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_shop="""
        import sys

        def test_nothing_of_it_is_imported():
            heavy = ("taskq.", "taskq_sql", "sqlalchemy", "psycopg.", "pydantic.")
            found = {name for name in sys.modules if name.startswith(heavy)}
            assert found <= {"taskq.pytest", "taskq.pytest.plugin"}
        """
    )
    suite.makeini(INI.format(more=""))
    # The others' plugins import what they like.
    others = ["postgresql", "pytest_postgresql", "anyio", "hypothesispytest"]
    run = suite.runpytest_subprocess(*(f"-pno:{name}" for name in others))
    run.assert_outcomes(passed=1)


def test_the_package_imports_what_is_asked_for() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, taskq; before = 'taskq.app' in sys.modules; "
            "from taskq import *; "
            "print(before, taskq.App is App, taskq.worker.Worker is Worker, 'App' in dir(taskq), "
            "hasattr(taskq, 'Nothing'))",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert said.split() == ["False", "True", "True", "True", "False"]
