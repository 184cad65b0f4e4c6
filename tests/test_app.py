"""The app: what it knows, what it imports, and what it closes."""

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url

from taskq import App, JobStatus
from taskq.database.database import LIBPQ_VARIABLES, Database
from taskq.exceptions import (
    DatabaseNotConfigured,
    InvalidDatabase,
    InvalidOption,
    LoadFromPathError,
    TaskAlreadyRegistered,
    TaskNotFound,
)

NOWHERE = "postgresql://nobody.is.asked"

WriteModule = Callable[[str, str], None]


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteModule:
    """Writes a module that can be imported during the test."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


# What it knows


def test_the_same_name_or_alias_twice_is_refused() -> None:
    app = App(NOWHERE)
    known = app.task(name="send", aliases=["mail"])(send)
    for name, aliases in [("send", []), ("mail", []), ("other", ["send"]), ("other", ["mail"])]:
        with pytest.raises(TaskAlreadyRegistered, match=r"is the name of <Task send> already"):
            app.task(name=name, aliases=aliases)(send)
    app.task(send)
    with pytest.raises(TaskAlreadyRegistered, match=r"'tests.test_app.send' is the name of"):
        app.task(send)
    assert set(app.tasks) == {"send", "mail", "tests.test_app.send"}
    assert app.tasks["mail"] is known


def send(to: str = "ada") -> None: ...


def test_a_name_that_is_not_known_is_told_with_what_was_meant() -> None:
    app = App(NOWHERE)
    app.task(name="shop.send")(send)
    message = str(app.not_found("shop.sent"))
    assert "task 'shop.sent' is not registered with this app: did you mean 'shop.send'?" in message
    assert "import_paths" in message
    assert "did you mean" not in str(app.not_found("something"))


def test_an_app_is_shown_without_its_password() -> None:
    app = App("postgresql://ada:hunter2@localhost/shop")
    app.task(name="send", aliases=["mail"])(send)
    assert repr(app) == (
        "<App on <Database postgresql+psycopg://ada:***@localhost/shop> with 1 tasks>"
    )


# Where no database is named


@pytest.fixture
def unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TASKQ_DATABASE_URL", raising=False)
    for name in LIBPQ_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("taskq.database.database.is_installed", lambda: False)


async def test_an_app_is_made_and_closed_where_no_database_is_named(unnamed: None) -> None:
    with App(worker_defaults={"wait": False}) as app:
        task = app.task(send)
        jobs = app.job_manager
        assert repr(app) == "<App on a database that is not looked up yet, with 1 tasks>"
        for use in (task.defer, jobs.list_jobs, app.check_connection):
            with pytest.raises(DatabaseNotConfigured, match="TASKQ_DATABASE_URL"):
                use()
        with pytest.raises(DatabaseNotConfigured):
            await asyncio.to_thread(app.run_worker)
        with pytest.raises(DatabaseNotConfigured):
            await task.defer_async()
    await app.close_async()


def test_an_app_asks_the_environment_when_it_first_needs_a_database(
    unnamed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = App()
    monkeypatch.setenv("TASKQ_DATABASE_URL", "postgresql://first")
    assert "first" in repr(app.database)
    monkeypatch.setenv("TASKQ_DATABASE_URL", "postgresql://second")
    assert app.job_manager.database is app.schema_manager.database is app.database
    assert "first" in repr(app)


def test_what_is_given_and_wrong_is_refused_when_the_app_is_made(unnamed: None) -> None:
    wrong: Any = "yes"
    with pytest.raises(InvalidDatabase, match="mysql"):
        App("mysql://elsewhere")
    with pytest.raises(InvalidDatabase, match="pooler='yes'"):
        App(pooler=wrong)


def test_an_app_without_a_database_is_put_on_one_for_a_while(
    unnamed: None, database_url: str
) -> None:
    app = App()
    with app.replace_database(database_url):
        assert app.check_connection()
        assert not app.job_manager.list_jobs()
    with pytest.raises(DatabaseNotConfigured):
        app.job_manager.list_jobs()


def test_threads_that_need_a_database_at_once_get_the_same(
    unnamed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2)
    resolved = []
    first = Database.resolve("postgresql://first")

    def resolve(*args: object, **kwargs: object) -> Database:
        resolved.append(first)
        with suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.2)  # for another one that resolves, too
        return resolved[-1]

    monkeypatch.setattr(Database, "resolve", resolve)
    app = App()
    with ThreadPoolExecutor(2) as threads:
        one, other = threads.map(lambda _: app.database, range(2))
    assert one is other is first
    assert resolved == [first]


# What it imports

TASKS = """
from tests import test_app

@test_app.current.task(name="late", queue="late")
def late() -> None: ...
"""

current: App


@pytest.fixture
def app_with_late_task(write_module: WriteModule) -> App:
    """An app whose task is in a module that is not imported."""
    global current  # noqa: PLW0603 - how a module that is imported later finds it
    write_module("late_tasks", TASKS)
    current = App(NOWHERE, import_paths=["late_tasks"])
    assert current.tasks == {}
    return current


def test_tasks_are_imported_when_a_job_is_deferred_by_name(app_with_late_task: App) -> None:
    for _ in range(2):
        deferrer = app_with_late_task.configure_task("late", allow_unknown=False)
        assert deferrer.prepare().queue_name == "late"
    with pytest.raises(TaskNotFound, match="did you mean 'late'"):
        app_with_late_task.configure_task("later", allow_unknown=False)


def test_a_worker_runs_a_task_of_a_module_that_only_import_paths_name(
    write_module: WriteModule, database_url: str
) -> None:
    global current
    write_module("late_tasks", TASKS)
    with App(database_url) as elsewhere:
        job_id = elsewhere.configure_task("late").defer()
        with App(database_url, import_paths=["late_tasks"]) as current:
            current.run_worker(wait=False, install_signal_handlers=False)
        assert elsewhere.job_manager.get_job_status(job_id) is JobStatus.SUCCEEDED


async def test_tasks_are_imported_when_a_worker_is_made(app_with_late_task: App) -> None:
    app_with_late_task.worker()
    assert set(app_with_late_task.tasks) == {"late"}


@pytest.mark.parametrize("path", ["no.such.module", "", ".relative", "tests.test_app.App"])
async def test_a_path_that_cannot_be_imported_is_refused(path: str) -> None:
    app = App(NOWHERE, import_paths=["tests", path])
    with pytest.raises(LoadFromPathError, match=f"import_paths has '{path}', which cannot be"):
        app.configure_task("send")
    with pytest.raises(LoadFromPathError, match=f"import_paths has '{path}', which cannot be"):
        app.worker()


def test_import_paths_are_a_list() -> None:
    with pytest.raises(InvalidOption, match=r"import_paths='shop.jobs': give a list"):
        App(NOWHERE, import_paths="shop.jobs")


def test_a_module_that_breaks_says_how(write_module: WriteModule) -> None:
    write_module("broken_tasks", "import no_such_module_either")
    with pytest.raises(LoadFromPathError, match=r"'broken_tasks'.*'no_such_module_either'"):
        App(NOWHERE, import_paths=["broken_tasks"]).configure_task("send")


here = App(NOWHERE)


def test_an_app_is_found_by_its_path() -> None:
    assert App.from_path("tests.test_app:here") is App.from_path("tests.test_app.here") is here


def test_the_one_app_of_a_module_is_found_by_the_modules_path(write_module: WriteModule) -> None:
    write_module("one_app", f"from taskq import App\nqueue = same = App({NOWHERE!r})")
    assert App.from_path("one_app") is App.from_path("one_app:queue")


def test_what_a_module_raises_when_it_is_imported_is_not_hidden(write_module: WriteModule) -> None:
    write_module("raising_app", "import no_such_module")
    with pytest.raises(LoadFromPathError, match="No module named 'no_such_module'"):
        App.from_path("raising_app.app")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tests.test_app:send", "is of the type function, and not an app"),
        ("tests.test_app:App", "is of the type type, and not an app"),
        ("tests.test_app:there", "no app can be imported .*'there'"),
        ("no.such.module:app", "no app can be imported .*'no'"),
        ("", "no app can be imported from ''"),
        ("here", "no app can be imported from 'here'"),
        ("..here:app", "no app can be imported from '..here:app'"),
        ("tests.test_app:", "no app can be imported from 'tests.test_app:'"),
        ("tests.test_app.there", "module 'tests.test_app' has no 'there'"),
        ("tests.conftest", "the module 'tests.conftest' has no apps: .* as in tests.conftest:app"),
        ("two_apps", "has 2 apps: name one, as in two_apps:mail or two_apps:night"),
    ],
)
def test_a_path_that_leads_to_no_app_is_refused(
    path: str, message: str, write_module: WriteModule
) -> None:
    write_module(
        "two_apps", f"from taskq import App\nmail, night = App({NOWHERE!r}), App({NOWHERE!r})"
    )
    with pytest.raises(LoadFromPathError, match=message):
        App.from_path(path)


# Workers


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "a worker's option concurrency=0 makes no sense"),
        ({"concurency": 1}, "a worker has no option 'concurency'; it has queues, name"),
        ({"queues": []}, r"queues=\[\] makes no sense"),
        ({"queues": [""]}, r"queues=\[''\]"),
        ({"delete_jobs": "sometimes"}, "delete_jobs='sometimes'"),
        ({"fetch_job_polling_interval": float("nan")}, "fetch_job_polling_interval=nan"),
        ({"update_heartbeat_interval": 60}, "heartbeat_interval=60.0 must be less than"),
    ],
)
async def test_a_workers_option_that_makes_no_sense_is_refused_at_once(
    options: Any, message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        App(NOWHERE, worker_defaults=options)
    with pytest.raises(InvalidOption, match=message):
        App(NOWHERE).worker(**options)


async def test_a_call_wins_over_the_environment_and_that_over_the_defaults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = App(NOWHERE, worker_defaults={"concurrency": 2, "name": "ada", "queues": ["a"]})
    monkeypatch.setenv("TASKQ_WORKER_CONCURRENCY", "3")
    monkeypatch.setenv("TASKQ_WORKER_NAME", "bob")
    options = app.worker(name="cy").options
    assert (options.concurrency, options.name, options.queues) == (3, "cy", ["a"])


# Opening and closing


def test_a_context_manager_closes_what_it_opened(database_url: str) -> None:
    with App(database_url).open() as app:
        app.configure_task("noop").defer()
        pool = app.database.engine.pool
        assert pool.checkedin() == 1  # type: ignore[attr-defined]
    assert pool.checkedin() == 0  # type: ignore[attr-defined]
    app.configure_task("noop").defer()
    app.close()


async def test_its_async_face_does_the_same(database_url: str) -> None:
    async with App(database_url).open_async() as app:
        await app.configure_task("noop").defer_async()
        app.configure_task("noop").defer()
        assert await app.open_async() is app
        pools = [app.database.async_engine.pool, app.database.engine.pool]
        assert [pool.checkedin() for pool in pools] == [1, 1]  # type: ignore[attr-defined]
    assert [pool.checkedin() for pool in pools] == [0, 0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_test_puts_an_app_and_its_tasks_on_another_database_for_a_while(
    database_url: str, is_async: bool
) -> None:
    seen: list[str] = []
    app = App(NOWHERE, worker_defaults={"wait": False, "install_signal_handlers": False})

    @app.task
    async def note(text: str) -> None:
        seen.append(text)

    later = note.configure(lock="a lock")
    block = app.replace_database(database_url)
    if is_async:
        async with block as replaced:
            assert replaced is app
            pool = app.database.async_engine.pool
            assert await app.schema_manager.is_applied_async()
            id_ = await later.defer_async(text="async")
            await app.run_worker_async()
            assert (await app.job_manager.get_job_async(id_)).status is JobStatus.SUCCEEDED
            assert pool.checkedin() > 0  # type: ignore[attr-defined]
    else:
        with block as replaced:
            assert replaced is app
            pool = app.database.engine.pool
            assert app.schema_manager.is_applied()
            id_ = later.defer(text="sync")
            await asyncio.to_thread(app.run_worker)
            assert app.job_manager.get_job(id_).status is JobStatus.SUCCEEDED
            assert pool.checkedin() > 0  # type: ignore[attr-defined]
    assert seen == ["async" if is_async else "sync"]
    assert pool.checkedin() == 0  # type: ignore[attr-defined]
    assert "nobody.is.asked" in repr(app.database)
    assert app.job_manager.database is app.database
    app.close()


def test_an_app_comes_back_from_another_database_after_an_error() -> None:
    app = App(NOWHERE)
    with app.replace_database("postgresql://elsewhere"):
        with pytest.raises(LookupError), app.replace_database("postgresql://further"):
            raise LookupError(repr(app))
        assert "elsewhere" in repr(app)
    assert "nobody.is.asked" in repr(app)
    with pytest.raises(InvalidDatabase, match="mysql"):
        app.replace_database("mysql://elsewhere")


def test_an_engine_that_was_given_stays_open(database_url: str) -> None:
    engine = create_engine(database_url)
    with App(engine) as app:
        id_ = app.configure_task("noop").defer()
    assert engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    with App(make_url(database_url)) as other:
        assert other.job_manager.get_job(id_).task_name == "noop"
    engine.dispose()


def test_a_worker_may_be_run_again_and_again_without_an_event_loop(database_url: str) -> None:
    seen: list[str] = []
    with App(database_url, worker_defaults={"wait": False}) as app:

        @app.task
        def note(text: str) -> None:
            seen.append(text)

        for text in ("one", "two"):
            note.defer(text=text)
            app.run_worker(install_signal_handlers=False)
    assert seen == ["one", "two"]


async def test_run_worker_in_an_event_loop_names_its_async_face() -> None:
    with pytest.raises(RuntimeError, match=r"await app.run_worker_async"):
        App(NOWHERE).run_worker()
