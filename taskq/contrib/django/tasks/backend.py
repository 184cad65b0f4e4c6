"""The backend for ``TASKS``: Django's tasks are deferred as jobs, and run by taskq's workers."""

from typing import Any, ClassVar, Final

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from taskq.contrib.django.application import DjangoApp, get_app
from taskq.contrib.django.checks import check_alias_of
from taskq.contrib.django.tasks.options import OF_JOBS, with_options
from taskq.contrib.django.tasks.packages import TasksPackage, load_package
from taskq.contrib.django.tasks.results import POSITIONAL, result_of
from taskq.contrib.django.tasks.running import DjangoTask
from taskq.exceptions import InvalidFilter, JobNotFound, TaskqException
from taskq.job import JobStatus
from taskq.messages import short_repr

_OPTIONS: Final = {"database"}


def backend_for(package: TasksPackage) -> type[Any]:
    """The backend whose tasks are those of one package."""

    class TaskqBackend(package.backend_class):  # type: ignore[name-defined]
        """Defers Django's tasks as jobs, on Django's own connection.

        So what is enqueued in an ``atomic`` block is committed with it, or rolled back: ``on_commit`` is not
        needed. Its OPTIONS: ``database``, an alias of ``DATABASES``, in place of ``TASKQ["DATABASE"]``.
        """

        classes: ClassVar[TasksPackage] = package
        task_class = with_options(package.task_class)
        supports_defer = True
        supports_async_task = True
        supports_get_result = True
        supports_priority = True

        def __init__(self, alias: str, params: dict[str, Any]) -> None:
            super().__init__(alias, params)
            if unknown := sorted(set(self.options) - _OPTIONS):
                raise package.invalid_backend(
                    f"TASKS[{alias!r}] has the option {unknown[0]!r}, which taskq's backend does not know: "
                    f"there is {', '.join(sorted(_OPTIONS))}; what holds for all of taskq is said in TASKQ"
                )

        @property
        def app(self) -> DjangoApp:
            """The app whose jobs they are."""
            return get_app(self.options.get("database"))

        def validate_task(self, task: Any) -> None:
            """Refuse a task that cannot be enqueued; one that can, workers know from here on.

            Raises:
                InvalidTask: It is none for this backend; the message says why.
            """
            super().validate_task(task)
            self._known(task)

        def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
            """Defer a job.

            Raises:
                InvalidTask: The task cannot be enqueued.
                InvalidArguments: They do not fit the function, or JSON cannot carry them.
                TypeError: JSON has nothing for one of them.
                AlreadyEnqueued: A job with its queueing lock waits already.
            """
            super().validate_task(task)
            known = self._known(task)
            # Which refuses what is no JSON, or makes it JSON.
            result = package.result_class(
                task=task,
                id="",
                status=package.status["READY"],
                enqueued_at=None,
                started_at=None,
                finished_at=None,
                last_attempted_at=None,
                args=list(args),
                kwargs=dict(kwargs),
                backend=self.alias,
                errors=[],
                worker_ids=[],
            )
            options = {
                name: value for name in OF_JOBS if (value := getattr(task, name, None)) is not None
            }
            if result.args:
                options["metadata"] = {**options.get("metadata", {}), POSITIONAL: len(result.args)}
            if task.run_after is not None:
                options["schedule_at"] = _aware(task.run_after)
            job_id = known.task.configure(
                queue=task.queue_name, priority=task.priority, **options
            ).defer(**known.by_name(result.args, result.kwargs))
            object.__setattr__(result, "id", str(job_id))
            object.__setattr__(result, "enqueued_at", timezone.now())
            package.signals.task_enqueued.send(type(self), task_result=result)
            return result

        def get_result(self, result_id: str) -> Any:
            """Read a result, by its id.

            Raises:
                TaskResultDoesNotExist: There is no job with it, or none of a task that is known here.
            """
            manager = self.app.job_manager
            try:
                job = manager.get_job(int(result_id))
            except (JobNotFound, InvalidFilter, TypeError, ValueError):
                raise package.result_does_not_exist(result_id) from None
            known = self.app.django_tasks.get(job.task_name)
            if known is None:
                raise package.result_does_not_exist(
                    f"{result_id}: the job is one of task {short_repr(job.task_name)}, which no module that "
                    "is imported here declares with @task"
                )
            at_once = job.claim == 1 and job.status is JobStatus.SUCCEEDED
            failed = [] if not job.claim or at_once else manager.list_failed_attempts(job.id)
            return result_of(
                package, known.declared, job, failed, names=known.names, backend=self.alias
            )

        def check(self, **kwargs: Any) -> list[CheckMessage]:
            """What ``manage.py check`` says of it."""
            messages: list[CheckMessage] = list(super().check(**kwargs))
            if not apps.is_installed("taskq.contrib.django"):
                messages.append(
                    CheckWarning(
                        "TASKS has taskq's backend, and nothing runs its jobs",
                        hint="Add 'taskq.contrib.django' to INSTALLED_APPS, for `manage.py taskq worker`.",
                        id="taskq.W001",
                    )
                )
            return [*messages, *check_alias_of(self.app.alias)]

        def _known(self, task: Any) -> DjangoTask:
            app, name = self.app, task.module_path
            known: DjangoTask | None = app.django_tasks.get(name)
            if known is not None and known.declared.func is task.func:
                return known
            if known is None and name in app.tasks:
                raise package.invalid_task(
                    f"task {name!r} is one of taskq's own already: declare the function once"
                )
            made = DjangoTask(task, self)
            if known is not None:
                del app.tasks[name]  # its module was loaded again
            try:
                app._register(made.task)
            except TaskqException as error:
                raise package.invalid_task(str(error)) from error
            app.django_tasks[name] = made
            return made

    TaskqBackend.__qualname__ = "TaskqBackend"
    return TaskqBackend


def _aware(moment: Any) -> Any:
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def __getattr__(name: str) -> Any:
    # Either package may be missing, and is imported when it is asked for.
    made: type[Any]
    if name == "BackportBackend":
        made = backend_for(_loaded("django_tasks"))
    elif name == "TaskqBackend":
        made = backend_for(_loaded("django.tasks", "django_tasks"))
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = made
    return made


def _loaded(*names: str) -> TasksPackage:
    for name in names:
        try:
            return load_package(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise ImproperlyConfigured(
        f"taskq's backend for TASKS needs {' or '.join(names)}: Django 6 has django.tasks, and for 5.2 "
        "there is the backport, pip install django-tasks"
    )
