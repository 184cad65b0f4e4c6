"""What the tables say at a moment: what is under way, what waits, which locks are held."""

import psycopg

# The first of its lock, or without one; or what is to begin soon, wherever it waits. What is this far ahead
# waits for an operator.
_UNDER_WAY = """
SELECT count(*)
FROM taskq_jobs AS job
WHERE
    job.id > %s
    AND (
        job.status = 'doing'
        OR (
            job.status = 'todo' AND job.expires_at < now() + interval '60 s'
        )
        OR (
            job.status = 'todo'
            AND coalesce(job.scheduled_at, now()) < now() + interval '60 s'
            AND NOT EXISTS (
                SELECT
                FROM taskq_jobs AS better
                WHERE
                    better.id > %s AND better.status = 'todo' AND better.lock = job.lock
                    AND (better.priority, -better.id) > (job.priority, -job.id)
            )
        )
    )
"""


class Tables:
    """Asks the tables.

    Args:
        connection: In autocommit.
    """

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection

    def last_job(self) -> int:
        """The highest id of a job."""
        return self._number("SELECT coalesce(max(id), 0) FROM taskq_jobs")

    def workers(self) -> int:
        """How many workers are registered."""
        return self._number("SELECT count(*) FROM taskq_workers")

    def under_way(self, after: int) -> int:
        """How many jobs beyond an id run, or will run without an operator's doing."""
        return self._number(_UNDER_WAY, after, after)

    def alive(self, after: int) -> int:
        """How many jobs beyond an id wait or run."""
        return self._number(
            "SELECT count(*) FROM taskq_jobs WHERE id > %s AND status IN ('todo', 'doing')", after
        )

    def changes(self) -> int:
        """Another number whenever something has happened to a job."""
        return self._number("SELECT last_value FROM stress_versions_seq_seq")

    def held_locks(self) -> list[str]:
        """The locks that jobs hold."""
        rows = self._connection.execute(
            "SELECT lock FROM taskq_jobs WHERE status = 'doing' AND lock IS NOT NULL"
        )
        return [str(row[0]) for row in rows]

    def _number(self, query: str, *values: int) -> int:
        row = self._connection.execute(query.encode(), values).fetchone()
        assert row is not None
        value: int = row[0]
        return value
