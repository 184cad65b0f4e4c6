"""Jobs as the results of Django's tasks."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.utils import timezone

from taskq.contrib.django.tasks.packages import TasksPackage
from taskq.job import FailedAttempt, Job, JobStatus

# Of the job's metadata: how many of the arguments were given by position.
POSITIONAL: Final = "django_positional"
PRIORITIES: Final = range(-100, 101)

_STATUSES: Final = {
    JobStatus.TODO: "READY",
    JobStatus.DOING: "RUNNING",
    JobStatus.SUCCEEDED: "SUCCESSFUL",
}
# Of jobs that ended without an error.
_REASONS: Final = {JobStatus.CANCELLED: "taskq.JobCancelled", JobStatus.ABORTED: "taskq.JobAborted"}


def result_of(
    package: TasksPackage,
    task: Any,
    job: Job,
    failed: Sequence[FailedAttempt],
    *,
    names: Sequence[str],
    backend: str,
) -> Any:
    """A job as a ``TaskResult``.

    Args:
        package: Whose classes it is made of.
        task: The task, as it was declared.
        job: The job.
        failed: Its failed attempts, the first one first.
        names: The names of the task's parameters, in order.
        backend: The alias of the backend.
    """
    args, kwargs = _split(job, names)
    status = _STATUSES.get(job.status, "FAILED")
    errors = [error_of(package, attempt.error_type, attempt.error_traceback) for attempt in failed]
    if job.status in _REASONS and not errors:
        errors = [error_of(package, _REASONS[job.status], f"the job was {job.status}")]
    result = package.result_class(
        task=_as_enqueued(task, job, backend, package),
        id=str(job.id),
        status=package.status[status],
        enqueued_at=_local(job.deferred_at),
        started_at=_local(_first_start(job, failed)),
        finished_at=_local(job.finished_at),
        last_attempted_at=_local(job.started_at),
        args=args,
        kwargs=kwargs,
        backend=backend,
        errors=errors,
        worker_ids=_workers(job, failed),
    )
    object.__setattr__(result, "_return_value", job.result)
    return result


def error_of(package: TasksPackage, error_type: str, traceback: str) -> Any:
    """What an attempt failed with, as a ``TaskError``; its class by the name that taskq has for it."""
    path = error_type if "." in error_type else f"builtins.{error_type}"
    return package.error_class(exception_class_path=path, traceback=traceback)


def _split(job: Job, names: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    # By name they are stored; those that were given by position are to be found there again.
    count = (job.metadata or {}).get(POSITIONAL, 0)
    given = names[: count if isinstance(count, int) else 0]
    kwargs = {name: value for name, value in job.task_kwargs.items() if name not in given}
    return [job.task_kwargs[name] for name in given if name in job.task_kwargs], kwargs


def _as_enqueued(task: Any, job: Job, backend: str, package: TasksPackage) -> Any:
    changed = {
        "backend": backend,
        "queue_name": job.queue,
        "priority": min(max(job.priority, PRIORITIES[0]), PRIORITIES[-1]),
        "run_after": _local(job.scheduled_at),
    }
    # An operator may have moved it to a queue that no task may be put into.
    with suppress(package.invalid_task):
        return replace(task, **changed)
    return task


def _first_start(job: Job, failed: Sequence[FailedAttempt]) -> datetime | None:
    first = failed[0].started_at if failed else None
    return first or job.started_at


def _workers(job: Job, failed: Sequence[FailedAttempt]) -> list[str]:
    # One for each attempt: Django counts them.
    by_attempt = {attempt.attempt: attempt.worker_id for attempt in failed}
    by_attempt.setdefault(job.attempt, job.worker_id or 0)
    return [str(by_attempt.get(number, "unknown")) for number in range(1, job.attempt + 1)]


def _local(moment: datetime | None) -> datetime | None:
    if moment is None or settings.USE_TZ:
        return moment
    naive: datetime = timezone.make_naive(moment)
    return naive
