"""Django's own tasks, deferred and run by taskq: those of Django 6 and of its backport."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from taskq import AlreadyEnqueued, InvalidArguments, JobStatus
from taskq.contrib.django import DjangoApp, get_app
from tests.contrib.django.settings import HAS_DJANGO_TASKS
from tests.contrib.django.shop.models import Order

NEEDS_DJANGO_6 = pytest.mark.skipif(
    not HAS_DJANGO_TASKS, reason="django.tasks comes with Django 6, which needs Python 3.12"
)


class Flavour:
    """The tasks and the classes of one of the two packages."""

    def __init__(self, name: str) -> None:
        self.tasks: Any = import_module(
            "tests.contrib.django.shop."
            + ("django_6_tasks" if name == "django.tasks" else "backport_tasks")
        )
        self.package: Any = import_module(name)
        self.base: Any = import_module(f"{name}.base")
        self.signals: Any = import_module(f"{name}.signals")
        self.exceptions: Any = import_module(f"{name}.exceptions")
        self.alias = "default" if name == "django.tasks" else "backport"
        self.invalid_task: type[Exception] = (
            getattr(self.exceptions, "InvalidTask", None) or self.exceptions.InvalidTaskError
        )


@pytest.fixture(params=[pytest.param("django.tasks", marks=NEEDS_DJANGO_6), "django_tasks"])
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return Flavour(request.param)


@pytest.fixture
def told(flavour: Flavour) -> Iterator[list[tuple[str, str, str]]]:
    """What signals tell: their name, the result's id, and its status."""
    heard: list[tuple[str, str, str]] = []
    receivers = []
    for name in ("enqueued", "started", "finished"):

        def hear(sender: Any, task_result: Any, name: str = name, **_: Any) -> None:
            heard.append((name, task_result.id, task_result.status))

        signal = getattr(flavour.signals, f"task_{name}")
        signal.connect(hear)
        receivers.append((signal, hear))
    yield heard
    for signal, hear in receivers:
        signal.disconnect(hear)


def test_a_task_is_enqueued_run_and_its_result_read(
    flavour: Flavour, app: DjangoApp, told: list[Any]
) -> None:
    result = flavour.tasks.add.enqueue(2, b=3)
    assert result.status == "READY"
    assert (result.args, result.kwargs, result.backend) == ([2], {"b": 3}, flavour.alias)
    job = app.job_manager.get_job(int(result.id))
    assert job.task_name == flavour.tasks.add.module_path
    assert job.task_kwargs == {"a": 2, "b": 3}
    app.run_worker(wait=False)
    result.refresh()
    assert result.status == "SUCCESSFUL"
    assert result.return_value == 5
    assert result.attempts == 1
    again = flavour.tasks.add.get_result(result.id)
    assert (again.args, again.kwargs) == ([2], {"b": 3})
    assert again.enqueued_at <= again.started_at <= again.finished_at
    assert told == [
        ("enqueued", result.id, "READY"),
        ("started", result.id, "RUNNING"),
        ("finished", result.id, "SUCCESSFUL"),
    ]


def test_what_is_enqueued_in_a_block_is_rolled_back_with_it(
    flavour: Flavour, app: DjangoApp
) -> None:
    with transaction.atomic():
        order = Order.objects.create()
        result = flavour.tasks.add.enqueue(order.pk, 1)
        assert flavour.tasks.add.get_result(result.id).status == "READY", "the block sees it"
        transaction.set_rollback(True)
    with pytest.raises(flavour.exceptions.TaskResultDoesNotExist):
        flavour.tasks.add.get_result(result.id)


def test_an_async_task_and_the_async_methods(flavour: Flavour, app: DjangoApp) -> None:
    async def enqueue() -> Any:
        return await flavour.tasks.count.aenqueue()

    Order.objects.create()
    result = async_to_sync(enqueue)()
    app.run_worker(wait=False)
    async_to_sync(result.arefresh)()
    assert result.return_value == 1


def test_priority_queue_and_time_are_those_of_the_job(flavour: Flavour, app: DjangoApp) -> None:
    at = timezone.now() + timedelta(hours=1)
    urgent = flavour.tasks.add.using(priority=100, queue_name="mail", run_after=at)
    job = app.job_manager.get_job(int(urgent.enqueue(1, 2).id))
    assert (job.priority, job.queue, job.scheduled_at) == (100, "mail", at)
    read = flavour.tasks.add.get_result(str(job.id)).task
    assert (read.priority, read.queue_name, read.run_after) == (100, "mail", at)
    with override_settings(USE_TZ=False):
        naive = datetime(2100, 1, 1, 12)  # noqa: DTZ001 - as USE_TZ=False has it
        later = flavour.tasks.add.using(run_after=naive).enqueue(1, 2)
        read = flavour.tasks.add.get_result(later.id)
        assert read.task.run_after == naive
        assert timezone.is_naive(read.enqueued_at)


def test_a_failure_has_its_class_and_traceback(
    flavour: Flavour, app: DjangoApp, told: list[Any]
) -> None:
    result = flavour.tasks.fail.enqueue("why")
    app.run_worker(wait=False)
    result.refresh()
    assert result.status == "FAILED"
    [error] = result.errors
    assert error.exception_class is ValueError
    assert 'raise ValueError("why")' in error.traceback or "ValueError: why" in error.traceback
    with pytest.raises(ValueError, match="Task failed"):
        _ = result.return_value
    assert [name for name, *_ in told] == ["enqueued", "started", "finished"]
    assert told[-1][2] == "FAILED"


def test_a_retry_is_another_attempt_and_not_an_end(
    flavour: Flavour, app: DjangoApp, told: list[Any]
) -> None:
    result = flavour.tasks.succeed_at_second.enqueue()
    app.run_worker(wait=False)
    result.refresh()
    assert result.status == "SUCCESSFUL"
    assert result.return_value == 2, "the context says which attempt it is"
    assert result.attempts == 2
    assert [error.exception_class for error in result.errors] == [RuntimeError]
    assert result.started_at < result.last_attempted_at
    assert [name for name, *_ in told] == ["enqueued", "started", "started", "finished"]


def test_what_an_operator_cancels_has_failed_and_says_why(flavour: Flavour, app: DjangoApp) -> None:
    result = flavour.tasks.add.enqueue(1, 2)
    app.job_manager.cancel_job_by_id(int(result.id))
    result.refresh()
    assert result.status == "FAILED"
    assert [error.exception_class.__name__ for error in result.errors] == ["JobCancelled"]


def test_a_receiver_that_fails_does_not_fail_the_job(flavour: Flavour, app: DjangoApp) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("a receiver")

    flavour.signals.task_finished.connect(fail)
    try:
        result = flavour.tasks.add.enqueue(1, 2)
        app.run_worker(wait=False)
    finally:
        flavour.signals.task_finished.disconnect(fail)
    assert app.job_manager.get_job_status(int(result.id)) is JobStatus.SUCCEEDED


def test_a_result_that_is_no_json_is_a_failure(flavour: Flavour, app: DjangoApp) -> None:
    result = flavour.tasks.return_object.enqueue()
    app.run_worker(wait=False)
    result.refresh()
    assert [error.exception_class for error in result.errors] == [TypeError]


def test_taskqs_own_options(flavour: Flavour, app: DjangoApp) -> None:
    first = flavour.tasks.add.using(queueing_lock="sum", tags=["sums"]).enqueue(1, 2)
    job = app.job_manager.get_job(int(first.id))
    assert job.tags == ("sums",)
    with pytest.raises(AlreadyEnqueued):
        flavour.tasks.add.using(queueing_lock="sum").enqueue(1, 2)


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [
        ((1, 2, 3), {}, InvalidArguments),
        ((1,), {"a": 1, "b": 2}, InvalidArguments),
        ((1,), {}, InvalidArguments),
        ((object(), 1), {}, TypeError),
        ((float("nan"), 1), {}, InvalidArguments),
    ],
)
def test_arguments_that_do_not_fit_are_refused_at_once(
    flavour: Flavour, args: Any, kwargs: Any, error: type[Exception], app: DjangoApp
) -> None:
    with pytest.raises(error):
        flavour.tasks.add.enqueue(*args, **kwargs)
    assert len(app.job_manager.list_jobs()) == 0


def test_a_task_that_cannot_be_one_is_refused_when_it_is_declared(flavour: Flavour) -> None:
    tasks = flavour.tasks
    with pytest.raises(flavour.invalid_task, match="given by position"):
        flavour.base.task(tasks.any_number, backend=flavour.alias)
    with pytest.raises(flavour.invalid_task, match="not valid for backend"):
        tasks.add.using(queue_name="elsewhere")
    with pytest.raises(flavour.invalid_task, match="priority"):
        tasks.add.using(priority=101)
    with pytest.raises(flavour.invalid_task, match="timeout"):
        flavour.base.task(tasks.plain, backend=flavour.alias, timeout=-1)


def test_a_result_that_is_not_there_or_not_of_djangos_tasks(
    flavour: Flavour, app: DjangoApp
) -> None:
    foreign = app.configure_task("elsewhere.task").defer()
    for result_id in ("0", "x", str(10**30), "", str(foreign)):
        with pytest.raises(flavour.exceptions.TaskResultDoesNotExist):
            flavour.tasks.add.get_result(result_id)
    other = flavour.tasks.fail.enqueue("x")
    with pytest.raises(flavour.exceptions.TaskResultMismatch):
        flavour.tasks.add.get_result(other.id)


def test_the_context_and_the_same_call_by_the_immediate_backend_are_alike(
    flavour: Flavour, app: DjangoApp
) -> None:
    name = "django.tasks" if flavour.alias == "default" else "django_tasks"
    immediate = import_module(f"{name}.backends.immediate").ImmediateBackend(
        alias=flavour.alias, params={"QUEUES": []}
    )
    for task, args in ((flavour.tasks.add, (1, 2)), (flavour.tasks.describe, ((1, 2),))):
        there = immediate.enqueue(task, args, {})
        here = task.enqueue(*args)
        app.run_worker(wait=False)
        here.refresh()
        for attribute in ("status", "args", "kwargs", "attempts", "return_value", "errors"):
            assert getattr(here, attribute) == getattr(there, attribute)


@NEEDS_DJANGO_6
def test_a_backend_may_be_on_another_database(app: DjangoApp) -> None:
    tasks = Flavour("django.tasks").tasks
    result = tasks.report.enqueue(11)
    reports = get_app("reports")
    assert len(app.job_manager.list_jobs()) == 0
    reports.run_worker(wait=False)
    result.refresh()
    assert result.return_value == 11


def test_checks_find_nothing_in_a_project_that_is_well() -> None:
    assert run_checks() == []


def test_an_option_that_is_none_is_refused(flavour: Flavour) -> None:
    backend = type(flavour.package.task_backends[flavour.alias])
    with pytest.raises(ImproperlyConfigured, match="has the option 'databse'"):
        backend(alias="x", params={"OPTIONS": {"databse": "default"}})
    found = backend(alias="x", params={"OPTIONS": {"database": "file"}}).check()
    assert [message.id for message in found] == ["taskq.E001"]
