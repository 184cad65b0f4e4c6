"""The plugin of pytest: ``pytest11`` names it. It imports no more of taskq before a fixture of it is used."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from taskq.app import App
    from taskq.pytest.clones import Clones
    from taskq.pytest.jobs import Jobs
    from taskq.worker.options import WorkerArguments

URL_VARIABLE = "TASKQ_TEST_DATABASE_URL"

_folder = pytest.StashKey[Path]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which options there are."""
    parser.addini(
        "taskq_app", "The app that taskq's fixtures test, as in shop.jobs:app", default=""
    )
    help_of_url = (
        "The URL of a PostgreSQL database as a user who may create others, in which taskq's tests run; "
        f"without one {URL_VARIABLE}, or pytest-postgresql's server, or else an embedded one"
    )
    parser.addini("taskq_database_url", help_of_url, default="")
    parser.addini(
        "taskq_postgresql",
        "The fixture of pytest-postgresql that says where the server is, as postgresql_noproc",
        default="",
    )
    parser.getgroup("taskq").addoption("--taskq-database-url", metavar="URL", help=help_of_url)


def pytest_configure(config: pytest.Config) -> None:
    """Choose where an embedded server would be, the same for all of xdist's workers."""
    if hasattr(config, "workerinput"):
        folder = Path(config.workerinput["taskq_folder"])
    else:
        folder = Path(tempfile.gettempdir()) / f"taskq-pytest-{secrets.token_hex(8)}"
    config.stash[_folder] = folder


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell one of xdist's workers."""
    node.workerinput["taskq_folder"] = str(node.config.stash[_folder])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the data of an embedded server, once xdist's workers have left it."""
    folder = config.stash.get(_folder, None)
    if folder is not None and not hasattr(config, "workerinput"):
        for path in _places(folder):
            shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def taskq_app(pytestconfig: pytest.Config) -> "App":
    """The app that is tested: what ``taskq_app`` of the configuration names. Override it for another."""
    path = str(pytestconfig.getini("taskq_app"))
    if not path:
        raise pytest.UsageError(
            "taskq's fixtures do not know the app: name it in pytest's configuration, as in "
            'taskq_app = "shop.jobs:app", or have a fixture taskq_app of your own return it'
        )
    from taskq.app import App  # noqa: PLC0415 - see the top of the module

    return App.from_path(path)


@pytest.fixture(scope="session")
def taskq_server(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Iterator[str]:
    """The URL of a database as a user who may create others, which the databases of tests are made from."""
    named = (
        pytestconfig.getoption("taskq_database_url")
        or pytestconfig.getini("taskq_database_url")
        or os.environ.get(URL_VARIABLE)
    )
    if named:
        yield str(named)
    elif url := _url_of_pytest_postgresql(request, pytestconfig):
        yield url
    else:
        from taskq.pytest.server import in_memory, start_server  # noqa: PLC0415

        folder = pytestconfig.stash[_folder]
        server = start_server((in_memory() or folder.parent) / folder.name)
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def taskq_prepare() -> Callable[[str], None] | None:
    """What the databases of all tests have beside the schema. Override it for tables of your own.

    Returns:
        What is called with the URL of their template, for SQLAlchemy, once that has taskq's schema; None:
        nothing.
    """
    return None


@pytest.fixture(scope="session")
def taskq_clones(
    taskq_server: str, taskq_prepare: Callable[[str], None] | None
) -> "Iterator[Clones]":
    """Makes the databases of the tests, by cloning a template that has the schema."""
    from taskq.database.database import Database  # noqa: PLC0415 - see the top of the module
    from taskq.pytest.clones import Clones  # noqa: PLC0415
    from taskq.schema import SchemaManager  # noqa: PLC0415

    def prepare(url: str) -> None:
        database = Database.resolve(url)
        try:
            SchemaManager(database).apply_schema()
        finally:
            database.close()
        if taskq_prepare is not None:
            taskq_prepare(url)

    clones = Clones(taskq_server, prepare)
    try:
        yield clones
    finally:
        clones.close()


@pytest.fixture
def taskq_database_url(taskq_clones: "Clones") -> Iterator[str]:
    """The URL of a clean database of the test's own, which has the schema; for SQLAlchemy."""
    url = taskq_clones.take()
    try:
        yield url
    finally:
        taskq_clones.give_back(url)


@pytest.fixture
def taskq_connection() -> Any:
    """The connection in whose transaction a test runs, as ``jobs_on`` takes it. Override it for one.

    Returns:
        A connection; None: the test has a database of its own.
    """
    return None


@pytest.fixture
def taskq_worker_options() -> "WorkerArguments":
    """Options of the worker that jobs are run as by, beside those of the app. Override it for some."""
    return {}


@pytest.fixture
def taskq_jobs(
    request: pytest.FixtureRequest,
    taskq_app: "App",
    taskq_connection: Any,
    taskq_worker_options: "WorkerArguments",
) -> "Iterator[Jobs]":
    """The jobs of the app, which is on a clean database for the time of the test, or on a connection."""
    from taskq.pytest.jobs import Jobs, jobs_on  # noqa: PLC0415 - see the top of the module

    with ExitStack() as stack:
        if taskq_connection is not None:
            yield stack.enter_context(
                jobs_on(taskq_app, taskq_connection, worker_options=taskq_worker_options)
            )
            return
        url = request.getfixturevalue("taskq_database_url")
        stack.enter_context(taskq_app.replace_database(url))
        jobs = Jobs(taskq_app, worker_options=taskq_worker_options)
        jobs.declare()
        yield jobs


@pytest.fixture
def jobs(taskq_jobs: "Jobs") -> "Jobs":
    """The same by a short name. A fixture ``jobs`` of your own takes its place."""
    return taskq_jobs


def _url_of_pytest_postgresql(request: pytest.FixtureRequest, config: pytest.Config) -> str | None:
    named = str(config.getini("taskq_postgresql"))
    if not named and not any(map(_is_of_pytest_postgresql, config.pluginmanager.get_plugins())):
        return None
    from pytest_postgresql.exceptions import ExecutableMissingException  # noqa: PLC0415
    from sqlalchemy import URL  # noqa: PLC0415

    from taskq.embedded import is_installed  # noqa: PLC0415

    # It may be there for something else, on a machine without a server; and it starts none as root.
    has_other = not named and is_installed()
    if has_other and os.geteuid() == 0:
        return None
    try:
        server = request.getfixturevalue(named or "postgresql_proc")
    except ExecutableMissingException:
        if has_other:
            return None
        raise
    url = URL.create(
        "postgresql+psycopg",
        username=server.user,
        password=server.password or None,
        database=getattr(server, "maintenance_dbname", None) or "postgres",
        query={"host": str(server.host), "port": str(server.port)},
    )
    return url.render_as_string(hide_password=False)


def _is_of_pytest_postgresql(plugin: object) -> bool:
    return getattr(plugin, "__name__", "").startswith("pytest_postgresql.")


def _places(folder: Path) -> list[Path]:
    return [folder, Path("/dev/shm") / folder.name]  # noqa: S108 - where it may be in memory
