"""Limits that no app has declared: no job of theirs starts."""

from collections.abc import Iterator
from shlex import quote

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.messages import counted


def check(context: CheckContext) -> Iterator[Finding]:
    """Find limits that jobs wait for, or in which all jobs of a queue count, and that no app has declared."""
    for limit in context.queries.list_unsaid_limits():
        yield _unsaid(limit)


def _unsaid(limit: queries.doctor.UnsaidLimit) -> Finding:
    of_queues = f", the limit of {_queues(limit)}" if limit.queue_names else ""
    key = f", as with the key {limit.key!r}" if limit.key else ""
    return Finding(
        severity=Severity.CRITICAL if limit.jobs else Severity.WARNING,
        what=f"nobody has declared the limit {limit.name!r}{of_queues}: {counted(limit.jobs, 'job')} "
        f"waiting for it{key}, and none of them starts",
        remedy="start a worker of the app that has it; or, if the name is a slip, cancel the jobs and defer "
        "them with another"
        + ("; or have the queue count in no limit" if limit.queue_names else ""),
        commands=[f"limits unset-queue {quote(queue)}" for queue in limit.queue_names],
        facts={
            "limit": limit.name,
            "key": limit.key or None,
            "queues": [*limit.queue_names],
            "jobs": limit.jobs,
        },
    )


def _queues(limit: queries.doctor.UnsaidLimit) -> str:
    names = ", ".join(map(repr, limit.queue_names))
    return f"the queue {names}" if len(limit.queue_names) == 1 else f"the queues {names}"
