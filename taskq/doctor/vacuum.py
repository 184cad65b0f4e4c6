"""Whether dead rows are removed: what autovacuum does, and what it leaves."""

from collections.abc import Iterator

from taskq import queries
from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity
from taskq.times import brief

# Autovacuum comes by once a minute by default: a table that has waited this many
# seconds is not its next one.
_BEHIND = 180


def check(context: CheckContext) -> Iterator[Finding]:
    """Find tables that are vacuumed never, late, or in vain."""
    tables = list(context.queries.list_tables())
    if not all(table.server_vacuums for table in tables):
        yield Finding(
            severity=Severity.CRITICAL,
            what="autovacuum is off for the whole server: dead rows stay, and claims grow slower",
            remedy="ALTER SYSTEM SET autovacuum = on, the same for track_counts, and have the server read "
            "its settings again with pg_reload_conf()",
            statements=[
                "ALTER SYSTEM SET autovacuum = on",
                "ALTER SYSTEM SET track_counts = on",
                "SELECT pg_reload_conf()",
            ],
            facts={"setting": "autovacuum"},
        )
    for table in tables:
        if not table.table_vacuums:
            yield _off(table)
        if table.dead_rows >= max(context.thresholds.dead_rows, 2 * table.vacuumed_from):
            yield _dead_rows(table)


def _off(table: queries.doctor.TableState) -> Finding:
    return Finding(
        severity=Severity.CRITICAL,
        what=f"autovacuum is off for {table.table_name}: dead rows stay, and claims grow slower",
        remedy=f"ALTER TABLE {table.table_name} RESET (autovacuum_enabled)",
        statements=[f"ALTER TABLE {table.table_name} RESET (autovacuum_enabled)"],
        facts={"table": table.table_name, "setting": "autovacuum_enabled"},
    )


def _dead_rows(table: queries.doctor.TableState) -> Finding:
    ago = table.vacuumed_seconds_ago
    counted = (
        f"{table.table_name} has {table.dead_rows:,} dead rows beside {table.live_rows:,} that live"
    )
    if 0 <= ago < _BEHIND:
        what = f"{counted}, though it was vacuumed {brief(ago)} ago: they cannot be removed"
        remedy = (
            "end what holds the horizon; if nothing does, this is the backlog of a moment ago, and "
            f"VACUUM {table.table_name} removes it"
        )
    else:
        when = "it has never been vacuumed" if ago < 0 else f"the last vacuum was {brief(ago)} ago"
        what = f"{counted}, and {when}: autovacuum is behind"
        remedy = (
            f"VACUUM {table.table_name} now; let autovacuum work harder with more "
            "autovacuum_max_workers or a lower autovacuum_vacuum_cost_delay"
        )
    return Finding(
        severity=Severity.WARNING,
        what=what,
        remedy=remedy,
        statements=[f"VACUUM {table.table_name}"],
        facts={
            "table": table.table_name,
            "dead_rows": table.dead_rows,
            "live_rows": table.live_rows,
            "vacuumed_from_rows": table.vacuumed_from,
            "vacuumed_seconds_ago": None if ago < 0 else ago,
        },
    )
