"""The app of a Django project: one for each database that has jobs."""

import asyncio
import os
import threading
from typing import Any, ClassVar, Final, Unpack

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from taskq.app import App
from taskq.contrib.django.configuration import check_alias, read_configuration
from taskq.contrib.django.connection import DjangoJobManager
from taskq.contrib.django.database import DjangoDatabase
from taskq.contrib.django.middleware import DjangoConnections
from taskq.exceptions import TaskqException
from taskq.manager import JobManager
from taskq.middleware import several
from taskq.worker import Worker
from taskq.worker.options import WorkerArguments, WorkerOptions

_apps: Final[dict[str, "DjangoApp"]] = {}
_making: Final = threading.RLock()


class DjangoApp(App):
    """An app on a database of Django's, whose jobs are deferred on Django's own connection.

    So they are committed with the ``atomic`` block that they are deferred in, or rolled back with it.

    Args:
        alias: Which of ``DATABASES``.
        **options: As for ``App``.

    Attributes:
        alias: As given.
        django_tasks: What a backend in ``TASKS`` has registered, by the names of the tasks.
    """

    _job_manager_class: ClassVar[type[JobManager]] = DjangoJobManager

    def __init__(self, alias: str = "default", **options: Any) -> None:
        super().__init__(**options)
        self.alias = alias
        self._database = DjangoDatabase(alias, pooler=options.get("pooler"))
        self.django_tasks: dict[str, Any] = {}

    def worker(self, **options: Unpack[WorkerArguments]) -> Worker[App]:
        """Make a worker, whose tasks find connections of Django's as a request does."""
        given = options.get("task_middleware", self.worker_defaults.get("task_middleware"))
        own = DjangoConnections()
        options["task_middleware"] = [own.around_sync, own.around_async, *several(given)]
        self.perform_import_paths()
        checked = WorkerOptions.of(options, defaults=self._all_worker_defaults())
        return DjangoWorker(self, checked, own)


class DjangoWorker(Worker[App]):
    """A worker that closes the connections of Django's in its threads when it ends."""

    def __init__(self, app: App, options: WorkerOptions, own: DjangoConnections) -> None:
        super().__init__(app, options)
        self._own_connections = own

    async def run(self) -> None:
        """Run until stopped; see ``Worker.run``."""
        try:
            await super().run()
        finally:
            # What it has left behind may still use them.
            if not self.has_left:
                await asyncio.to_thread(self._own_connections.close_all)


def get_app(alias: str | None = None) -> DjangoApp:
    """The app on a database of Django's, one for each; made when it is first asked for.

    Args:
        alias: Which of ``DATABASES``; None: the one that ``TASKQ["DATABASE"]`` names.

    Raises:
        ImproperlyConfigured: A setting makes no sense.
    """
    with _making:
        if alias in _apps:
            return _apps[alias]
        configuration = read_configuration()
        alias = check_alias("the database", configuration.database if alias is None else alias)
        if alias not in _apps:
            try:
                _apps[alias] = DjangoApp(alias, **configuration.app_options)
            except (TaskqException, TypeError) as error:
                raise ImproperlyConfigured(f"TASKQ: {error}") from error
        return _apps[alias]


def project_app() -> DjangoApp:
    """The project's app; Django is set up where nothing has done so, as in ``python -m taskq``.

    Raises:
        ImproperlyConfigured: A setting makes no sense.
    """
    if not apps.ready and not apps.loading and os.environ.get("DJANGO_SETTINGS_MODULE"):
        django.setup()
    return get_app()


def made_apps() -> list[str]:
    """The aliases of the apps that were asked for."""
    return list(_apps)
