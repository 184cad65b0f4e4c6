"""How full the server's queue of notifications is: when it is full, no job can be deferred."""

from collections.abc import Iterator

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.times import brief

_WARNING, _CRITICAL = 0.1, 0.5  # of the queue


def check(context: CheckContext) -> Iterator[Finding]:
    """Find out how full the queue is, and which session keeps it from emptying."""
    [queue] = context.queries.get_notification_queue()
    if queue.usage < _WARNING:
        return
    yield Finding(
        severity=Severity.CRITICAL if queue.usage >= _CRITICAL else Severity.WARNING,
        what=f"the server's queue of notifications is {queue.usage:.0%} full; when it is full, every "
        "defer fails. A session that listens and stays in its transaction keeps it so, most likely "
        f"{queue.pid} in the database {queue.database_name!r}, in one for {brief(queue.seconds)}. It "
        f"says: {queue.statement}",
        remedy=f"end that transaction, or call pg_terminate_backend({queue.pid})",
        statements=[f"SELECT pg_terminate_backend({queue.pid})"],
        facts={
            "usage": queue.usage,
            "pid": queue.pid,
            "database": queue.database_name,
            "seconds": queue.seconds,
            "query": queue.statement,
        },
    )
