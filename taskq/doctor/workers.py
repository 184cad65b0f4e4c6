"""Workers that died, and whose jobs no other worker has rescued."""

from collections.abc import Iterator

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.messages import counted
from taskq.times import brief


def check(context: CheckContext) -> Iterator[Finding]:
    """Find workers without a heartbeat, and jobs whose worker is gone."""
    for worker in context.queries.list_stalled_workers(stalled_after=context.thresholds.stalled):
        if worker.name:
            what = (
                f"worker {worker.id} ({worker.name!r}) has given no sign of life for "
                f"{brief(worker.silent_seconds)}"
            )
        else:
            what = (
                f"worker {worker.id} is gone; it claimed a job {brief(worker.silent_seconds)} ago"
            )
        in_hand = f", with {counted(worker.jobs, 'job')} in hand" if worker.jobs else ""
        yield Finding(
            severity=Severity.CRITICAL if worker.jobs else Severity.WARNING,
            what=what + in_hand,
            remedy="start a worker: it takes the jobs of dead ones back into the queue, within its "
            "stalled_worker_timeout. If one is running, look at its log",
            commands=["worker"],
            facts={
                "worker_id": worker.id,
                "worker": worker.name,
                "silent_seconds": worker.silent_seconds,
                "jobs": worker.jobs,
            },
        )
