"""``manage.py taskq``, the settings, and the schema with ``migrate``."""

import inspect
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from taskq import App, JobStatus
from taskq.contrib.django import DjangoApp, get_app
from taskq.contrib.django.configuration import read_configuration
from taskq.contrib.django.database import conninfo_of
from taskq.contrib.django.management.commands.taskq import Command
from taskq.contrib.django.schema import apply_after_migrate
from tests.contrib.django.conftest import move
from tests.contrib.django.shop.tasks import pay


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    call_command("taskq", *arguments)
    return capsys.readouterr().out


def test_the_command_line_is_on_djangos_database(
    app: DjangoApp, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = pay.defer(order_id=1)
    assert f'"id": {job_id}' in shown(capsys, "jobs", "list", "--json")
    assert pay.name in shown(capsys, "tasks", "list")
    assert "has the whole schema already" in shown(capsys, "schema", "apply")
    call_command("taskq", "jobs", "cancel", str(job_id))
    assert app.job_manager.get_job_status(job_id) is JobStatus.CANCELLED


def test_a_worker_runs_what_waits(app: DjangoApp) -> None:
    job_id = pay.defer(order_id=1)
    call_command("taskq", "worker", "--no-wait", "--no-install-signal-handlers")
    assert app.job_manager.get_job_status(job_id) is JobStatus.SUCCEEDED


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_database_is_named_by_its_alias(capsys: pytest.CaptureFixture[str], place: str) -> None:
    pay.defer(order_id=1)
    job_id = get_app("reports").configure_task("reports.make").defer()
    line = ["jobs", "list", "--json"]
    named = ["--database", "reports"]
    said = shown(capsys, *([*named, *line] if place == "before" else [*line, *named]))
    assert "reports.make" in said
    assert pay.name not in said
    assert get_app("reports").job_manager.get_job_status(job_id) is JobStatus.TODO


def test_errors_are_djangos_command_errors_with_taskqs_exit_codes() -> None:
    with pytest.raises(CommandError, match="No such command 'wroker'") as raised:
        call_command("taskq", "wroker")
    assert raised.value.returncode == 2
    with pytest.raises(CommandError, match="no job has the id 1") as raised:
        call_command("taskq", "jobs", "show", "1")
    assert raised.value.returncode == 1


def test_the_help_is_taskqs() -> None:
    written = StringIO()
    Command().create_parser("manage.py", "taskq").print_help(written)
    assert "manage.py taskq [OPTIONS] COMMAND" in written.getvalue()
    assert "doctor" in written.getvalue()
    assert "--database ALIAS" in written.getvalue()


def test_migrate_applies_the_schema(
    connection: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    get_app().schema_manager.remove()
    call_command("migrate", verbosity=1)
    assert "Applied 0001_pre_tables" in capsys.readouterr().out
    pay.defer(order_id=1)


@pytest.mark.parametrize(("said", "applies"), [(True, True), ("pre", True), (False, False)])
def test_migrate_applies_what_the_settings_say(said: Any, applies: bool) -> None:
    manager = get_app().schema_manager
    manager.remove()
    with override_settings(TASKQ={"MIGRATE": said}):
        apply_after_migrate(using="default", verbosity=0)
    assert manager.is_applied() is applies


def test_a_database_without_jobs_gets_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskq.contrib.django.schema.made_apps", list)
    manager = get_app("reports").schema_manager
    manager.remove()
    apply_after_migrate(using="reports", verbosity=0)
    assert not manager.is_applied()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["default"], "give a dictionary"),
        ({"QUEUE_LIMIT": {}}, "did you mean 'QUEUE_LIMITS'"),
        ({"database": "default"}, "did you mean 'DATABASE'"),
        ({"DATABASE": "nowhere"}, r"TASKQ\['DATABASE'\]='nowhere'.*'default', 'reports'"),
        ({"DATABASE": 7}, "give an alias"),
        ({"MIGRATE": "post"}, r"TASKQ\['MIGRATE'\]='post'"),
        ({"TASKS_MODULE": "a.b"}, "give the name of a module"),
        ({"DEFER_MIDDLEWARE": "shop.nothing"}, "shop.nothing.*cannot be imported"),
        ({"PUBLISH_MIDDLEWARE": ["shop.nothing"]}, "shop.nothing.*cannot be imported"),
        ({"WORKER_DEFAULTS": {"task_middleware": ["shop.x"]}}, "'task_middleware'.*'shop.x'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: Any, says: str) -> None:
    with override_settings(TASKQ=given), pytest.raises(ImproperlyConfigured, match=says):
        read_configuration()


def test_each_option_of_an_app_is_a_setting() -> None:
    options = inspect.signature(App).parameters.keys() - {"database"}
    with override_settings(TASKQ={name.upper(): [] for name in options}):
        assert read_configuration().app_options.keys() == options


@pytest.mark.parametrize(
    "given", [{"WORKER_DEFAULTS": {"concurrency": 0}}, {"RETENTION": {"x": 1}}]
)
def test_options_that_the_app_refuses_are_told_as_settings(
    given: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskq.contrib.django.application._apps", {})
    with override_settings(TASKQ=given), pytest.raises(ImproperlyConfigured, match="TASKQ: "):
        get_app()


def test_workers_connect_as_djangos_settings_say(app: DjangoApp) -> None:
    said = connections["default"].settings_dict
    said["OPTIONS"] = {
        "options": "-c search_path=shop",
        "application_name": "shop",
        "assume_role": "the shop",
        "isolation_level": 3,
        "pool": False,
    }
    try:
        found = psycopg.conninfo.conninfo_to_dict(conninfo_of("default"))
        assert found["options"] == r"-c search_path=shop -c role=the\ shop"
        assert found["application_name"] == "shop"
        assert "isolation_level" not in found
        assert "shop" in str(app.database.libpq_parameters()["options"])
    finally:
        said["OPTIONS"] = {}


def test_the_app_follows_django_to_another_database(
    app: DjangoApp, connection: psycopg.Connection
) -> None:
    before = app.database
    assert app.database is before
    move("default", connection.info)
    assert app.database is before
    other = connections["reports"].settings_dict["NAME"]
    connections["default"].settings_dict["NAME"] = other
    assert other in str(app.database)
