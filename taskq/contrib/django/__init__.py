"""taskq in a Django project: jobs on Django's own connection, ``manage.py taskq``, the admin, and ``TASKS``.

With ``"taskq.contrib.django"`` in ``INSTALLED_APPS``, ``from taskq.contrib.django import app`` is the app of
the project: an ``App`` on the database that ``TASKQ["DATABASE"]`` names; ``TaskqBackend`` is for ``TASKS``.
"""

from typing import TYPE_CHECKING, Any

try:
    import django as _django  # noqa: F401 - to say what is missing
except ModuleNotFoundError as _error:
    raise ImportError("this needs Django: pip install 'taskq-sql[django]'") from _error

if TYPE_CHECKING:
    from taskq.contrib.django.application import DjangoApp, get_app
    from taskq.contrib.django.tasks.backend import BackportBackend, TaskqBackend

    app: DjangoApp

__all__ = ["BackportBackend", "DjangoApp", "TaskqBackend", "app", "get_app"]


def __getattr__(name: str) -> Any:
    # Not at once: Django imports this package before its settings and models may be asked for.
    if name == "app":
        from taskq.contrib.django.application import project_app  # noqa: PLC0415

        return project_app()
    if name in {"DjangoApp", "get_app"}:
        from taskq.contrib.django import application  # noqa: PLC0415

        return getattr(application, name)
    if name in {"BackportBackend", "TaskqBackend"}:
        from taskq.contrib.django.tasks import backend  # noqa: PLC0415

        return getattr(backend, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
