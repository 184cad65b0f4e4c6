"""Tables and indexes that take far more room than what they hold needs.

An estimate, from what ANALYZE has seen: nothing is read but the catalogs.
"""

from collections.abc import Iterator

from taskq.doctor.check import CheckContext
from taskq.doctor.finding import Finding, Severity

_ROW = 28  # bytes of a row beside its columns: its header, and its place in the page
_ENTRY = 20  # bytes of an index entry beside its keys
_PACKED = 0.7  # how full the pages of an index are that grew in no order

_SHARE = 0.5  # of what it takes, that it must waste


def check(context: CheckContext) -> Iterator[Finding]:
    """Find tables and indexes most of whose room is empty."""
    allowed = context.thresholds.bloat
    for table in context.queries.list_tables():
        rows = table.live_rows + table.dead_rows
        needed = rows * (table.row_bytes + _ROW) * 100 / table.fillfactor
        if table.row_bytes and _is_bloated(table.bytes, needed, allowed):
            yield _finding(
                "table",
                table.table_name,
                table.bytes,
                needed,
                remedy=f"VACUUM FULL {table.table_name} while no worker runs, as it locks the table; or "
                "pg_repack, which does not. Rows that fill it again do no harm",
                statement=f"VACUUM FULL {table.table_name}",
            )
    for index in context.queries.list_indexes():
        needed = index.entries * (index.key_bytes + _ENTRY) / _PACKED
        if index.entries >= 0 and index.key_bytes and _is_bloated(index.bytes, needed, allowed):
            yield _finding(
                "index",
                index.index_name,
                index.bytes,
                needed,
                remedy=f"REINDEX INDEX CONCURRENTLY {index.index_name}",
                statement=f"REINDEX INDEX CONCURRENTLY {index.index_name}",
            )


def _is_bloated(size: int, needed: float, allowed: int) -> bool:
    return size - needed >= max(allowed, size * _SHARE)


def _finding(
    kind: str, name: str, size: int, needed: float, *, remedy: str, statement: str
) -> Finding:
    return Finding(
        severity=Severity.WARNING,
        what=f"the {kind} {name} takes {size / 2**20:,.0f} MB, and what it holds about "
        f"{needed / 2**20:,.0f} MB",
        remedy=remedy,
        statements=[statement],
        facts={kind: name, "bytes": size, "needed_bytes": round(needed)},
    )
