"""Crowds of jobs for a claim to find its way through, straight into the tables."""

from time import monotonic

import psycopg


def insert(
    connection: psycopg.Connection, number: int, *, queue: str = "'default'", **columns: str
) -> None:
    """Insert as many jobs, with these SQL expressions of n for columns."""
    row = {"task_name": "'noop'", "args": "'{}'", "queue_name": queue} | columns
    connection.execute(
        f"""
        INSERT INTO taskq_jobs ({", ".join(row)})
        SELECT {", ".join(row.values())} FROM generate_series(1, {number}) AS n
        """.encode()
    )
    if "lock" in columns:
        connection.execute(
            "SELECT taskq_open_locks(array_agg(DISTINCT lock), false) FROM taskq_jobs WHERE status = 'todo'"
        )


def hold(connection: psycopg.Connection, pattern: str) -> None:
    """Let another job hold each of the locks of the waiting jobs whose lock is like this."""
    connection.execute(
        """
        INSERT INTO taskq_jobs (task_name, args, queue_name, lock, status, worker_id, started_at)
        SELECT 'noop', '{}', 'holders', lock, 'doing', 1, now()
        FROM (SELECT DISTINCT lock FROM taskq_jobs WHERE status = 'todo' AND lock LIKE %s) AS named
        """,
        [pattern],
    )


def vacuum(connection: psycopg.Connection, *tables: str) -> None:
    """Remove what is dead from the tables and their indexes, and have their statistics made anew.

    Autovacuum can come in between: its ANALYZE has a snapshot, for which what is dead is kept, and its VACUUM
    can leave so little that the next one would pass the indexes by.
    """
    deadline = monotonic() + 15
    while connection.execute(
        """
        SELECT
        FROM pg_stat_activity
        WHERE datname = current_database() AND backend_xmin IS NOT NULL AND pid <> pg_backend_pid()
        """
    ).fetchone():
        assert monotonic() < deadline, "another session keeps its snapshot"
    connection.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {', '.join(tables)}".encode())
