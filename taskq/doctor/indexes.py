"""The indexes that the migrations make: whether they are there, and whether they can be used."""

import re
from collections.abc import Iterator

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.queries.connection import Connection
from taskq.schema import MigrationState, operations, read_migrations
from taskq.schema.migration import statements_of

_CREATED = re.compile(
    r"CREATE (UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(\w+)\s+(ON [^;]+)", re.IGNORECASE
)
_DROPPED = re.compile(r"DROP INDEX (?:CONCURRENTLY )?(?:IF EXISTS )?(\w+)", re.IGNORECASE)


def check(context: CheckContext) -> Iterator[Finding]:
    """Find indexes that are missing, or that a failed CONCURRENTLY has left invalid."""
    found = {index.index_name: index for index in context.queries.list_indexes()}
    wanted = _wanted(context.connection)
    for name, statement in wanted.items():
        if name not in found:
            yield _missing(name, statement)
    for name, index in found.items():
        if not index.valid:
            yield _invalid(index, wanted.get(name))


def _wanted(connection: Connection) -> dict[str, str]:
    """The statement that makes it, by the name of each index that the migrations leave there."""
    known = read_migrations()
    statuses = operations.status(connection, known)
    # That one is missing as a whole is another finding.
    missing = {status.name for status in statuses if status.state is MigrationState.PENDING}
    wanted: dict[str, str] = {}
    for migration in known:
        if migration.name in missing:
            continue
        for statement in statements_of(migration.sql.decode()):
            if created := _CREATED.search(statement):
                unique, name, rest = created.groups("")
                wanted[name] = f"CREATE {unique}INDEX CONCURRENTLY {name} {' '.join(rest.split())}"
            elif dropped := _DROPPED.search(statement):
                wanted.pop(dropped[1], None)
    return wanted


def _missing(name: str, statement: str) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        what=f"the index {name} is missing: what it is for reads the whole table instead, or is no "
        "longer guarded",
        remedy=statement,
        statements=[statement],
        facts={"index": name, "missing": True},
    )


def _invalid(index: queries.doctor.IndexState, statement: str | None) -> Finding:
    drop = f"DROP INDEX CONCURRENTLY {index.index_name}"
    return Finding(
        severity=Severity.WARNING if statement is None else Severity.CRITICAL,
        what=f"the index {index.index_name} of {index.table_name} is invalid: it costs every write, and "
        "no query uses it. A CREATE INDEX or REINDEX CONCURRENTLY failed, or is still at it",
        remedy=drop if statement is None else f"{drop}; {statement}",
        statements=[drop] if statement is None else [drop, statement],
        facts={"index": index.index_name, "table": index.table_name, "missing": False},
    )
