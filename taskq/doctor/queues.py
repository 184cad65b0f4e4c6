"""Queues in which jobs wait too long, or for ever."""

from collections.abc import Iterator
from shlex import quote
from typing import Any

from taskq.doctor.examination import Examination
from taskq.doctor.finding import Finding, Severity
from taskq.duration import brief
from taskq.manager import vitals

CONCERN = "queues"

_CRITICAL = 6  # times what a job may wait


def examine(examination: Examination) -> Iterator[Finding]:
    """Look for queues that nobody serves, and for those whose first job has waited too long."""
    waiting = examination.thresholds.waiting
    for queue in vitals.list_waiting_queues(
        examination.connection, examination.thresholds.stalled
    ):
        if queue.workers == 0:
            yield _unserved(queue)
        elif queue.seconds >= waiting:
            yield _late(queue, critical=queue.seconds >= _CRITICAL * waiting)


def _unserved(queue: Any) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        concern=CONCERN,
        what=f"no worker serves the queue {queue.queue_name!r}: {queue.jobs:,} jobs wait there, the "
        f"first for {brief(queue.seconds)}",
        remedy=f"start one: python -m taskq worker --queues {quote(queue.queue_name)}; or retry the jobs into "
        "another queue, if the name is a slip",
        facts=_facts(queue),
    )


def _late(queue: Any, *, critical: bool) -> Finding:
    return Finding(
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        concern=CONCERN,
        what=f"a job of the queue {queue.queue_name!r} has waited for {brief(queue.seconds)}, and "
        f"{queue.jobs:,} wait in all, for {queue.workers:,} workers",
        remedy="more workers, or a higher --concurrency; if it is one of low priority, or behind a "
        "lock, that may be as it should",
        facts=_facts(queue),
    )


def _facts(queue: Any) -> dict[str, Any]:
    return {
        "queue": queue.queue_name,
        "jobs": queue.jobs,
        "seconds": queue.seconds,
        "workers": queue.workers,
    }
