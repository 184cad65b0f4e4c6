"""Locks behind which many jobs wait, one after the other."""

from collections.abc import Iterator
from shlex import quote

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.messages import counted
from taskq.times import brief


def check(context: CheckContext) -> Iterator[Finding]:
    """Find long chains, and what they wait for."""
    for chain in context.queries.list_long_chains(min_jobs=context.thresholds.chain):
        if chain.holder_id is not None:
            cause = (
                f"job {chain.holder_id} of task {chain.holder_task!r} holds it, and has run for "
                f"{brief(chain.holder_seconds)}"
            )
        elif chain.head_in_seconds:
            cause = (
                f"its first job, {chain.head_id}, is scheduled for {brief(chain.head_in_seconds)} from "
                "now, and the others wait for it"
            )
        else:
            cause = f"its first job is {chain.head_id}"
        yield Finding(
            severity=Severity.WARNING,
            what=f"{counted(chain.jobs, 'job')} for the lock {chain.lock!r} wait for one another: {cause}",
            remedy="take finer locks, as in lock=f'customer-{id}'; or cancel what is no longer needed",
            commands=[f"jobs cancel --lock {quote(chain.lock)}"],
            facts=chain.model_dump(),
        )
