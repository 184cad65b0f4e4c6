"""The packages that have Django's tasks: ``django.tasks`` of Django 6, and its backport, ``django_tasks``.

They are alike, and their classes are not the same; each backend uses those of one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TasksPackage:
    """The classes and signals of one of them."""

    backend_class: type[Any]
    task_class: type[Any]
    result_class: type[Any]
    context_class: type[Any]
    error_class: type[Any]
    status: Any
    invalid_task: type[Exception]
    invalid_backend: type[Exception]
    result_does_not_exist: type[Exception]
    signals: Any
    normalize_json: Callable[[Any], Any]


def load_package(name: str) -> TasksPackage:
    """Import one of them.

    Args:
        name: ``django.tasks`` or ``django_tasks``.

    Raises:
        ImportError: It is not there.
    """
    base = import_module(f"{name}.base")
    backends = import_module(f"{name}.backends.base")
    errors = import_module(f"{name}.exceptions")
    # Where each of them has it.
    utils = import_module("django.utils.json" if name == "django.tasks" else f"{name}.utils")
    return TasksPackage(
        backend_class=backends.BaseTaskBackend,
        task_class=base.Task,
        result_class=base.TaskResult,
        context_class=base.TaskContext,
        error_class=base.TaskError,
        status=base.TaskResultStatus,
        invalid_task=getattr(errors, "InvalidTask", None) or errors.InvalidTaskError,
        invalid_backend=getattr(errors, "InvalidTaskBackend", None)
        or errors.InvalidTaskBackendError,
        result_does_not_exist=errors.TaskResultDoesNotExist,
        signals=import_module(f"{name}.signals"),
        normalize_json=utils.normalize_json,
    )
