"""Tasks that nobody knows: their jobs fail as soon as a worker claims them."""

from collections.abc import Iterator
from difflib import get_close_matches

from taskq.doctor.examination import Examination
from taskq.doctor.finding import Finding, Severity
from taskq.duration import brief
from taskq.manager import vitals

CONCERN = "tasks"

_SINCE = 86_400  # seconds for which a failure is news


def examine(examination: Examination) -> Iterator[Finding]:
    """Look for jobs of tasks that the app does not know, or that a worker did not know."""
    connection, known = examination.connection, examination.tasks
    if known is None:
        yield Finding(
            severity=Severity.NOTE,
            concern=CONCERN,
            what="whether the tasks of the jobs that wait are known cannot be said without an app",
            remedy="name it with --app module.path:attribute",
        )
    for task in vitals.list_waiting_tasks(connection) if known is not None else ():
        if task.task_name not in known:
            close = get_close_matches(task.task_name, known, n=1)
            yield Finding(
                severity=Severity.CRITICAL,
                concern=CONCERN,
                what=f"{task.jobs:,} jobs wait for the task {task.task_name!r}, which the app does not "
                "know: they will fail" + (f"; it knows {close[0]!r}" if close else ""),
                remedy="import its module, name that in import_paths, or give a task this name as an "
                "alias; or it is another app's, whose workers serve other queues",
                facts={"task": task.task_name, "jobs": task.jobs},
            )
    for task in vitals.list_tasks_not_found(connection, _SINCE):
        yield Finding(
            severity=Severity.WARNING,
            concern=CONCERN,
            what=f"{task.jobs:,} jobs of the task {task.task_name!r} have failed since a worker did not "
            f"know it, the last {brief(task.seconds)} ago with worker {task.worker_id}",
            remedy="deploy its code to all workers that serve its queue, and retry the jobs",
            facts={
                "task": task.task_name,
                "failed_jobs": task.jobs,
                "worker_id": task.worker_id,
                "seconds_ago": task.seconds,
            },
        )
