"""Time moves on in a test of a user's: whatever of a job, a limit or a pause is a time."""

from datetime import datetime, timedelta

import psycopg

from tests.sql.conftest import Ids, Run

MOVES = {
    "taskq_jobs",
    "taskq_failed_attempts",
    "taskq_limit_rates",
    "taskq_limit_gates",
    "taskq_pauses",
}
# Who works, and who said what when: no job comes due by these.
STAYS = {
    *("taskq_workers", "taskq_retention", "taskq_limits", "taskq_queue_limits"),
    *("taskq_subscriptions", "taskq_migrations"),
}


def test_all_that_makes_a_job_due_becomes_older(
    connection: psycopg.Connection, run: Run, defer: Ids
) -> None:
    [job_id] = defer({})
    for statement in (
        "INSERT INTO taskq_failed_attempts VALUES (%(id)s, 1, 1, 1, now(), '', '', '', now())",
        "INSERT INTO taskq_limit_rates VALUES ('a', now())",
        "INSERT INTO taskq_limit_gates VALUES ('default', 0, 1, 'a', now(), 1, now())",
        "INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'other')",
    ):
        connection.execute(statement.encode(), {"id": job_id})
    columns = times(connection)
    assert columns.keys() == MOVES | STAYS, "decide whether a test moves the times of a new table"
    for table in MOVES:
        unset = ", ".join(f"{column} = coalesce({column}, now())" for column in columns[table])
        connection.execute(f"UPDATE {table} SET {unset}".encode())
    before = {table: read(connection, table, columns[table]) for table in MOVES}
    run("MoveTime", seconds=3600)
    for table in MOVES:
        moved = read(connection, table, columns[table])
        assert moved == [time - timedelta(hours=1) for time in before[table]], (
            table,
            columns[table],
        )


def times(connection: psycopg.Connection) -> dict[str, list[str]]:
    """The columns of each table that are times."""
    return dict(
        connection.execute(
            "SELECT relname, array_agg(attname::text ORDER BY attnum) FROM pg_class "
            "INNER JOIN pg_attribute ON attrelid = pg_class.oid WHERE relkind = 'r' "
            "AND relname LIKE 'taskq_%' AND atttypid = 'timestamptz'::regtype AND NOT attisdropped "
            "GROUP BY relname"
        ).fetchall()
    )


def read(connection: psycopg.Connection, table: str, columns: list[str]) -> list[datetime]:
    [row] = connection.execute(f"SELECT {', '.join(columns)} FROM {table}".encode()).fetchall()
    return list(row)
