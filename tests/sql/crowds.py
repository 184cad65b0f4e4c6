"""Crowds of jobs for a claim to find its way through, straight into the tables."""

import psycopg

INSERT = """
    INSERT INTO taskq_jobs (task_name, args, queue_name, lock, status, scheduled_at, due)
    SELECT 'noop', '{{}}', {queue}, {lock}, {status}, {scheduled_at}, {due}
    FROM generate_series(1, {number}) AS n
"""


def insert(connection: psycopg.Connection, number: int, **columns: str) -> None:
    """Insert as many jobs, with these SQL expressions for columns."""
    plain = {
        "queue": "'default'",
        "lock": "NULL",
        "status": "'todo'",
        "scheduled_at": "NULL",
        "due": "true",
    }
    connection.execute(INSERT.format(**plain | columns, number=number).encode())


def hold(connection: psycopg.Connection, pattern: str) -> None:
    """Let a job that is not there hold the locks of the waiting jobs whose lock is like this."""
    connection.execute(
        "INSERT INTO taskq_locks SELECT DISTINCT lock, 0 FROM taskq_jobs WHERE lock LIKE %s",
        [pattern],
    )
