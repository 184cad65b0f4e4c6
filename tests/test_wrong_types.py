"""What is no argument at all is refused by taskq's own error, before the database sees it."""

import inspect
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import create_engine

from taskq import App, Blueprint, Retry, RetryStrategy, Snooze
from taskq.exceptions import TaskqException
from taskq.queries.filters import JobFilters

WRONG: list[Any] = [
    "x",
    b"x",
    5,
    -1,
    1.5,
    float("nan"),
    10**30,
    True,
    None,
    object(),
    int,
    lambda: 1,
    [],
    {},
    {"a"},
    ("x",),
    datetime(2030, 1, 1),  # noqa: DTZ001
    timedelta(days=10**6),
    "a\0b",
    "\ud800",
    "x" * 600,
]


def declare(**options: Any) -> None:
    def work(number: int = 0) -> None: ...

    declared: Any = Blueprint().task(**options)
    declared(work)


def declare_periodic(**options: Any) -> None:
    blueprint = Blueprint()

    @blueprint.task(name="tick")
    def tick(timestamp: int) -> None: ...

    blueprint.periodic(**{"cron": "* * * * *"} | options)(tick)


def surprises(of: Callable[..., object], names: list[str], **given: Any) -> list[str]:
    """Each value that is neither taken nor refused in taskq's own words."""
    found = []
    for name in names:
        for value in WRONG:
            try:
                of(**given | {name: value})
            except TaskqException:
                pass
            except BaseException as error:
                found.append(f"{name}={value!r}: {type(error).__name__}: {error}")
    return found


def parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD
    }


METHODS = [
    "cancel_job_by_id",
    "cancel_jobs",
    "count_jobs",
    "defer_jobs",
    "delete_jobs",
    "delete_old_jobs",
    "get_job",
    "get_job_status",
    "get_stalled_jobs",
    "list_alive_jobs",
    "list_failed_attempts",
    "list_jobs",
    "list_locks",
    "list_queues",
    "list_tasks",
    "reschedule_job",
    "retry_job_by_id",
    "retry_jobs",
]


@pytest.mark.parametrize("method", METHODS)
def test_the_job_manager_refuses_it(database_url: str, method: str) -> None:
    # In a transaction of a caller's, which an error of the database would end.
    engine = create_engine(database_url)
    with App(database_url) as app, engine.connect() as connection:
        call = getattr(app.job_manager.on(connection), method)
        given = parameters(call)
        takes_filters = "filters" in inspect.signature(call).parameters
        required = {
            name: {"jobs": [], "ids": [], "older_than": {"days": 900}}.get(name, 1)
            for name, parameter in given.items()
            if parameter.default is parameter.empty
        }
        if method == "reschedule_job":
            required["priority"] = 1
        names = [*given, *(JobFilters.__annotations__ if takes_filters else ())]
        assert surprises(call, names, **required) == []
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1, "the transaction goes on"
    engine.dispose()


def test_a_connection_that_is_none_is_refused(database_url: str) -> None:
    with App(database_url) as app:
        assert surprises(app.job_manager.on, ["connection"]) == []


def test_a_deferrer_refuses_it(database_url: str) -> None:
    with App(database_url) as app:

        @app.task
        def work(number: int = 0) -> None: ...

        options = (
            "lock queueing_lock idempotency_key metadata tags task_kwargs schedule_at schedule_in "
            "queue priority on_conflict"
        )
        assert surprises(lambda **given: work.configure(**given).defer(), options.split()) == []
        assert surprises(lambda name: work.batch_defer({"number": 1}, name), ["name"]) == []
        assert surprises(lambda name: app.configure_task(name).defer(), ["name"]) == []


def test_an_app_refuses_it() -> None:
    nowhere = "postgresql://nobody.is.asked"
    with App(nowhere) as app:
        options = "import_paths worker_defaults retention periodic_defaults pooler"
        assert (
            surprises(lambda **given: App(**{"database": nowhere} | given), options.split()) == []
        )
        assert surprises(app.replace_database, ["database"]) == []
        assert surprises(app.replace_database, ["pooler"], database=nowhere) == []
        assert surprises(app.add_tasks_from, ["blueprint"], namespace="a") == []
        assert surprises(app.add_tasks_from, ["namespace"], blueprint=Blueprint()) == []
        assert surprises(App.from_path, ["path"]) == []


def test_a_declaration_refuses_it() -> None:
    options = (
        "name aliases queue priority lock queueing_lock metadata tags retry timeout task_middleware"
    )
    assert surprises(declare, options.split()) == []
    assert surprises(declare_periodic, ["cron", "periodic_id", "timezone", "queue"]) == []
    waits = ["max_attempts", "wait", "linear_wait", "exponential_wait", "retry_exceptions"]
    assert surprises(RetryStrategy, waits) == []
    assert surprises(Snooze, ["wait"]) == []
    assert surprises(Retry, ["wait"]) == []


def test_the_schema_manager_refuses_it(database_url: str) -> None:
    with App(database_url) as app:
        manager = app.schema_manager
        assert surprises(manager.grants, ["role"], kind="worker") == []
        assert surprises(manager.grants, ["kind"], role="somebody") == []
        assert surprises(manager.apply_schema, ["up_to", "patience"]) == []
