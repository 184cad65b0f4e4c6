"""Rows that wait for ever, or make others wait: written by hand, or by a clock that was wrong."""

from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.messages import short_repr


class _Fault(NamedTuple):
    severity: Severity
    what: str
    advice: str = ""
    statement: str = ""


_FAULTS = {
    "timeless": _Fault(
        Severity.CRITICAL,
        "jobs that are for later have no time: {names}",
        advice="start a worker: it makes them due. If one is running, look at its log",
    ),
    "unclaimed": _Fault(
        Severity.CRITICAL,
        "jobs are doing, and no worker has them, or since a time that is ahead: {names}",
        advice="start a worker, which takes back those without a worker or a start; of the others, ",
        statement="UPDATE taskq_jobs SET started_at = now() WHERE id IN ({names})",
    ),
    "queueless": _Fault(
        Severity.CRITICAL,
        "jobs are in a queue without a name, which nobody serves: {names}",
        statement="UPDATE taskq_jobs SET queue_name = 'default' WHERE id IN ({names})",
    ),
    "immortal": _Fault(
        Severity.WARNING,
        "workers have a heartbeat that is ahead, so nobody would notice their death: {names}",
        statement="UPDATE taskq_workers SET last_heartbeat = now() WHERE id IN ({names})",
    ),
    "ahead": _Fault(
        Severity.WARNING,
        "periodic tasks are not deferred, as their last tick is ahead: {names}",
        statement="UPDATE taskq_periodic SET last_tick = extract(EPOCH FROM now()) "
        "WHERE last_tick > extract(EPOCH FROM now())",
    ),
}


def check(context: CheckContext) -> Iterator[Finding]:
    """Find rows that nothing of taskq's could have written so."""
    stuck = context.queries.list_stuck_rows()
    for name, rows in groupby(stuck, key=attrgetter("fault")):
        fault = _FAULTS[name]
        keys = [row.name for row in rows]
        names = ", ".join(map(short_repr, keys) if name == "ahead" else keys)
        statement = fault.statement.format(names=names)
        yield Finding(
            severity=fault.severity,
            what=fault.what.format(names=names),
            remedy=fault.advice + statement,
            statements=[statement] if statement else [],
            facts={"fault": name, "names": [*keys]},
        )
