"""Whether the schema is the one that this version of taskq needs."""

from collections.abc import Iterator

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.schema import MigrationState, MigrationStatus, Phase, operations, read_migrations


def check(context: CheckContext) -> Iterator[Finding]:
    """Find migrations that the database lacks, has otherwise, or has from a newer taskq."""
    for status in operations.status(context.connection, read_migrations()):
        if status.state is not MigrationState.APPLIED:
            yield _finding(status)


def _finding(status: MigrationStatus) -> Finding:
    match status.state, status.phase:
        case MigrationState.PENDING, Phase.POST:
            severity = Severity.WARNING
            what = f"the migration {status.name} waits: it may be applied when no older code runs"
            remedy = "apply it when none runs any more"
        case MigrationState.PENDING, _:
            severity = Severity.CRITICAL
            what = f"the migration {status.name} is missing, which this version of taskq needs"
            remedy = "apply it"
        case MigrationState.EDITED, _:
            severity = Severity.CRITICAL
            what = f"the database has another migration {status.version} than {status.name} as it is here"
            remedy = (
                "run the taskq that applied it; a migration that was applied is never edited, so write "
                "a new one instead"
            )
        case _, Phase.PRE:
            severity = Severity.NOTE
            what = (
                f"the database has {status.name!r} of a newer taskq, which this one does not mind"
            )
            remedy = "finish the deployment of the newer one"
        case _:
            severity = Severity.CRITICAL
            what = (
                f"the database has {status.name!r} of a newer taskq: this one does not work on it"
            )
            remedy = "install that version: pip install --upgrade taskq-sql"
    return Finding(
        severity=severity,
        what=what,
        remedy=remedy,
        commands=["schema apply"] if status.state is MigrationState.PENDING else [],
        facts={
            "version": status.version,
            "migration": status.name,
            "state": status.state.value,
            "phase": None if status.phase is None else status.phase.value,
        },
    )
