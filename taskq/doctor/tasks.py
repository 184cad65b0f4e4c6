"""Tasks that no worker knows: their jobs fail some time after a worker claims them."""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from shlex import quote

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.messages import counted
from taskq.times import brief

_SINCE = 86_400  # seconds for which a failure is reported


def check(context: CheckContext) -> Iterator[Finding]:
    """Find jobs of tasks that the app does not know, or that a worker did not know."""
    if context.tasks is None:
        yield Finding(
            severity=Severity.NOTE,
            what="whether the tasks of the jobs that wait are known cannot be said without an app",
            remedy="name it with --app module.path:attribute",
        )
    else:
        for waiting in context.queries.list_waiting_tasks():
            if waiting.task_name not in context.tasks:
                yield _unknown(waiting, context.tasks)
    for failed in context.queries.list_tasks_not_found(since=_SINCE):
        yield _not_found(failed)


def _unknown(waiting: queries.doctor.WaitingTask, known: Collection[str]) -> Finding:
    close = get_close_matches(waiting.task_name, known, n=1)
    hint = f"; it knows {close[0]!r}" if close else ""
    return Finding(
        severity=Severity.CRITICAL,
        what=f"the app does not know the task {waiting.task_name!r}, with "
        f"{counted(waiting.jobs, 'job')} waiting, which will fail{hint}",
        remedy="import its module, name that in import_paths, or give a task this name as an alias. If "
        "it is another app's, its jobs want a queue that only that app's workers serve",
        facts={"task": waiting.task_name, "jobs": waiting.jobs},
    )


def _not_found(failed: queries.doctor.TaskNotKnown) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        what=f"{counted(failed.jobs, 'job')} of the task {failed.task_name!r} failed because a worker "
        f"did not know it, last {brief(failed.seconds)} ago in worker {failed.worker_id}",
        remedy="deploy its code to all workers that serve its queue, and retry the jobs",
        commands=[f"jobs retry --status failed --task {quote(failed.task_name)}"],
        facts={
            "task": failed.task_name,
            "failed_jobs": failed.jobs,
            "worker_id": failed.worker_id,
            "seconds_ago": failed.seconds,
        },
    )
