"""Recording: the triggers and tables of it, and reading them."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.stress.log import Log, Run, Signal, Version
from tests.stress.visibility import Snapshot

_TABLES = ("stress_versions", "stress_runs", "stress_effects")


def install(connection: psycopg.Connection) -> None:
    """Begin to record, in a database that has the schema."""
    connection.execute(Path(__file__).with_suffix(".sql").read_bytes())


def linger(connection: psycopg.Connection, share: float) -> None:
    """Have so many of the statements that change a job take longer, from 0 to 1."""
    connection.execute("UPDATE stress_linger SET share = %s", [share])


def read(connection: psycopg.Connection, signals: Sequence[Signal], *, after: int = 0) -> Log:
    """What was recorded of jobs beyond an id."""
    cursor = connection.cursor(row_factory=dict_row)
    cursor.execute("SELECT * FROM stress_versions WHERE job_id > %s ORDER BY seq", [after])
    versions = [_version(row) for row in cursor]
    cursor.execute(
        "SELECT began.*, ended.at AS ended_at, ended.step AS ended_as "
        "FROM stress_runs AS began LEFT JOIN stress_runs AS ended "
        "ON began.job_id = ended.job_id AND began.claim = ended.claim "
        "AND began.process = ended.process AND ended.step IS NOT NULL "
        "WHERE began.step IS NULL AND began.job_id > %s ORDER BY began.seq",
        [after],
    )
    runs = [_run(row) for row in cursor]
    cursor.execute("SELECT * FROM stress_effects WHERE job_id > %s", [after])
    return Log(versions, runs, signals, [(row["job_id"], row["claim"]) for row in cursor])


def clear(connection: psycopg.Connection) -> None:
    """Forget what was recorded."""
    for table in _TABLES:
        connection.execute(f"TRUNCATE {table}".encode())


def save(connection: psycopg.Connection, folder: Path) -> None:
    """Write what was recorded, and all tables of taskq, into a folder: one file each, to look at."""
    tables = connection.execute("SELECT relname FROM pg_stat_user_tables").fetchall()
    for (table,) in tables:
        with (
            (folder / f"{table}.csv").open("wb") as file,
            connection.cursor().copy(
                f"COPY {table} TO STDOUT (FORMAT csv, HEADER)".encode()
            ) as rows,
        ):
            for data in rows:
                file.write(data)


def _version(row: dict[str, Any]) -> Version:
    return Version(
        **{name: row[name] for name in ("seq", "job_id", "status", "queue", "lock", "priority")},
        **{name: row[name] for name in ("claim", "worker_id", "abort_requested", "process")},
        limit_key=row["limit_key"],
        due_at=_seconds(row["due_at"]),
        expires_at=_seconds(row["expires_at"]),
        script=tuple(row["script"]),
        transaction=int(row["transaction"]),
        began=row["began"].timestamp(),
        snapshot=Snapshot.parse(row["snapshot"], taken_by=int(row["transaction"])),
        at=row["at"].timestamp(),
    )


def _run(row: dict[str, Any]) -> Run:
    return Run(
        **{name: row[name] for name in ("job_id", "claim", "worker_id", "process", "lock", "key")},
        started_at=row["at"].timestamp(),
        ended_at=_seconds(row["ended_at"]),
        step=row["ended_as"],
    )


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
