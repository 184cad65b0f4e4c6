"""Queues in which jobs wait too long, or for ever, and those that are paused."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.doctor.pauses import by_whom, pause_facts
from taskq.messages import counted
from taskq.times import brief

_CRITICAL = 6  # times what a job may wait


def check(context: CheckContext) -> Iterator[Finding]:
    """Find queues that no worker serves, whose first job has waited too long, or long paused."""
    waiting = context.thresholds.waiting
    for queue in context.queries.list_waiting_queues(stalled_after=context.thresholds.stalled):
        if queue.paused_seconds >= 0:
            if queue.paused_seconds >= waiting:
                yield _paused(queue)
        elif queue.workers == 0:
            yield _unserved(queue)
        elif queue.seconds >= waiting:
            yield _late(queue, critical=queue.seconds >= _CRITICAL * waiting)


def _paused(queue: queries.doctor.WaitingQueue) -> Finding:
    return Finding(
        severity=Severity.NOTE,
        what=f"the queue {queue.queue_name!r} has been paused for {brief(queue.paused_seconds)}"
        f"{by_whom(queue)}, with {counted(queue.jobs, 'job')} in it",
        remedy="resume it, if that was forgotten",
        commands=[f"queues resume {quote(queue.queue_name)}"],
        facts=_facts(queue) | pause_facts(queue),
    )


def _unserved(queue: queries.doctor.WaitingQueue) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        what=f"no worker serves the queue {queue.queue_name!r}, with {counted(queue.jobs, 'job')} in "
        f"it; the first has waited for {brief(queue.seconds)}",
        remedy="start one; or, if the name is a slip, cancel the jobs and retry them into another queue",
        commands=[f"worker --queues {quote(queue.queue_name)}"],
        facts=_facts(queue),
    )


def _late(queue: queries.doctor.WaitingQueue, *, critical: bool) -> Finding:
    return Finding(
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        what=f"a job of the queue {queue.queue_name!r} has waited for {brief(queue.seconds)}: "
        f"{counted(queue.jobs, 'job')} in all, {counted(queue.workers, 'worker')}",
        remedy="more workers, or a higher --concurrency; if it is one of low priority, or behind a "
        "lock or a limit, that may be as it should",
        facts=_facts(queue),
    )


def _facts(queue: queries.doctor.WaitingQueue) -> dict[str, Any]:
    return {
        "queue": queue.queue_name,
        "jobs": queue.jobs,
        "seconds": queue.seconds,
        "workers": queue.workers,
    }
