"""Crowds of jobs for a claim to find its way through, straight into the tables."""

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


def hold(connection: psycopg.Connection, pattern: str) -> None:
    """Let a job that is not there hold the locks of the waiting jobs whose lock is like this."""
    connection.execute(
        "INSERT INTO taskq_locks SELECT DISTINCT lock, 0 FROM taskq_jobs WHERE lock LIKE %s",
        [pattern],
    )
