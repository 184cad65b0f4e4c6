"""Tasks that no worker knows, whose jobs fail some time after a claim, and those that are paused."""

from collections.abc import Collection, Iterator
from shlex import quote

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.doctor.pauses import by_whom, pause_facts
from taskq.messages import closest, counted
from taskq.times import brief

_SINCE = 86_400  # seconds for which a failure is reported


def check(context: CheckContext) -> Iterator[Finding]:
    """Find jobs of tasks that the app does not know, that a worker did not know, or that are long paused."""
    waiting = list(context.queries.list_waiting_tasks())
    if context.tasks is None:
        yield Finding(
            severity=Severity.NOTE,
            what="whether the tasks of the jobs that wait are known cannot be said without an app",
            remedy="name it with --app module.path:attribute",
        )
    else:
        for task in waiting:
            if task.task_name not in context.tasks:
                yield _unknown(task, context.tasks)
    for task in waiting:
        if task.paused_seconds >= context.thresholds.waiting:
            yield _paused(task)
    for failed in context.queries.list_tasks_not_found(since=_SINCE):
        yield _not_found(failed)


def _unknown(waiting: queries.doctor.WaitingTask, known: Collection[str]) -> Finding:
    close = closest(waiting.task_name, known)
    hint = f"; it knows {close!r}" if close else ""
    return Finding(
        severity=Severity.CRITICAL,
        what=f"the app does not know the task {waiting.task_name!r}, with "
        f"{counted(waiting.jobs, 'job')} waiting, which will fail{hint}",
        remedy="import its module, name that in import_paths, or give a task this name as an alias. If "
        "it is another app's, its jobs want a queue that only that app's workers serve",
        facts={"task": waiting.task_name, "jobs": waiting.jobs},
    )


def _paused(waiting: queries.doctor.WaitingTask) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        what=f"the task {waiting.task_name!r} has been paused for {brief(waiting.paused_seconds)}"
        f"{by_whom(waiting)}, with {counted(waiting.jobs, 'job')} waiting",
        remedy="resume it, if that was forgotten",
        commands=[f"tasks resume {quote(waiting.task_name)}"],
        facts={"task": waiting.task_name, "jobs": waiting.jobs, **pause_facts(waiting)},
    )


def _not_found(failed: queries.doctor.TaskNotKnown) -> Finding:
    subscribes = (
        f"; it subscribes to {', '.join(map(repr, failed.events))}, and so gets more of them"
        if failed.events
        else ""
    )
    return Finding(
        severity=Severity.WARNING,
        what=f"{counted(failed.jobs, 'job')} of the task {failed.task_name!r} failed because a worker "
        f"did not know it, last {brief(failed.seconds)} ago in worker {failed.worker_id}{subscribes}",
        remedy="deploy its code to all workers that serve its queue, and retry the jobs"
        + ("; or, if it was removed for good, end its subscription" if failed.events else ""),
        commands=[
            f"jobs retry --status failed --task {quote(failed.task_name)}",
            *(f"events remove {quote(event)} {quote(failed.task_name)}" for event in failed.events),
        ],
        facts={
            "task": failed.task_name,
            "failed_jobs": failed.jobs,
            "events": [*failed.events],
            "worker_id": failed.worker_id,
            "seconds_ago": failed.seconds,
        },
    )
