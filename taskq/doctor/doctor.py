"""The doctor: runs every check, and sorts what they find."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from psycopg.errors import InsufficientPrivilege
from sqlalchemy.exc import DBAPIError

from taskq.database.database import Database
from taskq.database.errors import translated
from taskq.doctor import (
    bloat,
    drift,
    horizon,
    indexes,
    limits,
    locks,
    notifications,
    queues,
    rows,
    tasks,
    vacuum,
    workers,
)
from taskq.doctor.check import Check, CheckContext, Thresholds
from taskq.doctor.finding import Finding, Severity

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "schema": drift.check,
        "indexes": indexes.check,
        "workers": workers.check,
        "queues": queues.check,
        "locks": locks.check,
        "limits": limits.check,
        "rows": rows.check,
        "tasks": tasks.check,
        "horizon": horizon.check,
        "vacuum": vacuum.check,
        "bloat": bloat.check,
        "notifications": notifications.check,
    }
)

_WORST_FIRST = tuple(Severity)


def examine(
    database: Database, *, thresholds: Thresholds, tasks: Collection[str] | None = None
) -> list[Finding]:
    """Find what slows or endangers the queue.

    Args:
        database: Where the queue is.
        thresholds: From where on something is reported.
        tasks: The names of the tasks that the app knows, and their aliases; None: there is no app.

    Returns:
        The findings, the worst first.

    Raises:
        SchemaNotApplied: The database does not have taskq's schema.
        DatabaseUnavailable: The database does not answer.
    """
    with translated(database), database.engine.connect() as connection:
        context = CheckContext(connection=connection, thresholds=thresholds, tasks=tasks)
        findings = [finding for name in CHECKS for finding in _run(name, context)]
    return sorted(findings, key=lambda finding: _WORST_FIRST.index(finding.severity))


def _run(check: str, context: CheckContext) -> Iterator[Finding]:
    try:
        for finding in CHECKS[check](context):
            yield replace(finding, check=check)
    except DBAPIError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        # One thing that this user may not see is no reason to see nothing.
        yield Finding(
            severity=Severity.NOTE,
            check=check,
            what=f"not looked at: {error.orig.diag.message_primary}",
            remedy="run doctor as a user who may read taskq's tables, with what this prints",
            commands=["schema grants --as observer --role NAME"],
        )
