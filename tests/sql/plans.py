"""How the server runs a query, counted in rows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from tests.sql.sqlc import Query


@dataclass(frozen=True)
class Explained:
    """One run of a query, with its plan."""

    plan: dict[str, Any]

    @property
    def scans(self) -> list[dict[str, Any]]:
        """Where the plan reads the table of the jobs."""
        return [
            node
            for node in _nodes(self.plan)
            if node.get("Relation Name") == "taskq_jobs" and "Scan" in node["Node Type"]
        ]

    @property
    def kinds(self) -> set[str]:
        """The ways in which it reads the table of the jobs."""
        return {scan["Node Type"] for scan in self.scans}

    @property
    def read(self) -> int:
        """How many rows of the jobs it read, those included that it had no use for."""
        read: float = sum(
            scan["Actual Loops"]
            * (
                scan["Actual Rows"]
                + scan.get("Rows Removed by Filter", 0)
                + scan.get("Rows Removed by Index Recheck", 0)
            )
            for scan in self.scans
        )
        # Means over loops, which newer servers round to hundredths.
        return round(read)

    @property
    def in_vain(self) -> int:
        """How many rows, and pairs of rows, it looked at that it had no use for."""
        in_vain: float = sum(
            node["Actual Loops"] * number
            for node in _nodes(self.plan)
            for key, number in node.items()
            if key.startswith("Rows Removed by ")
        )
        return round(in_vain)

    @property
    def pages(self) -> int:
        """How many pages it touched, those included on which nothing was to be seen any more."""
        return int(self.plan["Shared Hit Blocks"] + self.plan["Shared Read Blocks"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from _nodes(part)


def run_explained(
    connection: psycopg.Connection, query: Query, plans: str, **arguments: str
) -> Explained:
    """Run a query as a worker's session does, with SQL expressions for its parameters.

    Args:
        plans: The server's plan_cache_mode.
    """
    connection.execute(f"SET plan_cache_mode = {plans}".encode())
    connection.execute("SET jit = off")
    connection.execute(f"PREPARE explained AS {query.text}".encode())
    values = ", ".join(arguments[parameter] for parameter in query.parameters)
    given = f"({values})" if values else ""
    row = connection.execute(
        f"EXPLAIN (ANALYZE, VERBOSE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE explained {given}".encode()
    ).fetchone()
    connection.execute("DEALLOCATE explained")
    assert row
    return Explained(row[0][0]["Plan"])


@dataclass(frozen=True)
class Counted:
    """What some statements read of the jobs, those in functions included."""

    whole_tables: int
    """How often they read the table from its start to its end."""

    read: int
    """How many entries of its indexes they read."""


@contextmanager
def counting(connection: psycopg.Connection, plans: str) -> Iterator[Callable[[], Counted]]:
    """Runs statements in a transaction, as a worker's session does; says what they have read so far.

    Args:
        plans: The server's plan_cache_mode.
    """
    connection.execute("SET jit = off")
    connection.execute(f"SET plan_cache_mode = {plans}".encode())

    def total() -> Counted:
        row = connection.execute(
            """
            SELECT
                pg_stat_get_xact_numscans('taskq_jobs'::regclass),
                (
                    SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid))
                    FROM pg_index
                    WHERE indrelid = 'taskq_jobs'::regclass
                )
            """
        ).fetchone()
        assert row
        return Counted(row[0], int(row[1]))

    with connection.transaction():
        # Of earlier transactions too, as they are handed on at most once in a second.
        before = total()

        def count() -> Counted:
            now = total()
            return Counted(now.whole_tables - before.whole_tables, now.read - before.read)

        yield count
