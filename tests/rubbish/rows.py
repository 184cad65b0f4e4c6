"""Rows with rubbish in every column of every table, as the catalog has them: a new column is among them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg
from hypothesis import strategies as st

from tests.rubbish import strategies

# The tables of the database with columns that are not written: what the server makes, or what binds taskq
# itself to a version.
NOT_WRITTEN = {"taskq_migrations"}

# Where a job beside them is, which no row of rubbish may pause or limit.
BESIDE = "a queue of its own"

_times = st.sampled_from(
    ["infinity", "-infinity", "now", "0044-03-15 BC", "294276-12-31", "0001-01-01", "9999-12-31"]
) | strategies.times.map(datetime.isoformat)

_storable = strategies.texts.filter(lambda text: text != BESIDE)

_names = _storable.map(lambda text: text[:500])

_jsonb = strategies.as_json_that_jsonb_holds(strategies.values | strategies.objects)

# What a column of a type may hold, as text that PostgreSQL reads as that type.
_OF_TYPE: Mapping[str, st.SearchStrategy[Any]] = {
    "text": _names,
    "text[]": st.lists(_names, max_size=3),
    "jsonb": _jsonb,
    "timestamp with time zone": _times,
    "boolean": st.booleans(),
    "integer": st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)]),
    "bigint": st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1]),
    "double precision": st.sampled_from(["0", "-0", "1e308", "NaN", "Infinity", "5e-324"]),
    "taskq_job_status": st.sampled_from(["todo", "failed", "succeeded", "cancelled", "aborted"]),
}

Columns = Mapping[str, tuple[str, bool]]


def tables_of(connection: psycopg.Connection) -> dict[str, dict[str, tuple[str, bool]]]:
    """The columns of each table, with their types, and whether they may be null."""
    rows = connection.execute(
        "SELECT relname, attname, format_type(atttypid, NULL), NOT attnotnull "
        "FROM pg_class INNER JOIN pg_attribute ON attrelid = pg_class.oid "
        "WHERE relkind = 'r' AND relname LIKE 'taskq_%' AND attnum > 0 AND NOT attisdropped "
        "ORDER BY relname, attnum"
    ).fetchall()
    tables: dict[str, dict[str, tuple[str, bool]]] = {}
    for table, column, kind, may_be_null in rows:
        if table not in NOT_WRITTEN:
            tables.setdefault(table, {})[column] = (kind, may_be_null)
    return tables


# A row that a table takes: null where that may be, or else these.
_PLAIN: Mapping[str, Any] = {
    "text": "fine",
    "text[]": [],
    "jsonb": "{}",
    "timestamp with time zone": "now",
    "boolean": True,
    "integer": 1,
    "bigint": 1,
    "double precision": "1",
    "taskq_job_status": "todo",
}
_PLAIN_COLUMNS: Mapping[str, Any] = {"kind": "queue", "limit_by": "[]", "concurrency": 1}


def rows_of(columns: Columns) -> st.SearchStrategy[dict[str, Any]]:
    """Rows of a table with rubbish in some columns: with rubbish in all of them it would take hardly one."""
    odd = {name: _OF_TYPE[kind] for name, (kind, _) in columns.items()}
    plain = {
        name: _PLAIN_COLUMNS.get(name, None if may_be_null else _PLAIN[kind])
        for name, (kind, may_be_null) in columns.items()
    }
    some = st.lists(st.sampled_from(sorted(odd)), unique=True, max_size=5)
    rubbish = some.flatmap(lambda names: st.fixed_dictionaries({name: odd[name] for name in names}))
    keys = ("id", "job_id", "name", "lock", "limit_key", "queue_name", "event", "task_name")
    differing = st.fixed_dictionaries({name: odd[name] for name in keys if name in columns})
    return st.builds(lambda unique, of: plain | unique | of, differing, rubbish)


def insert(connection: psycopg.Connection, table: str, row: Mapping[str, Any]) -> bool:
    """Write a row; returns whether the table took it."""
    names = ", ".join(f'"{name}"' for name in row)
    marks = ", ".join(["%s"] * len(row))
    statement = f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE VALUES ({marks})"
    try:
        connection.execute(statement.encode(), [*row.values()], prepare=False)
    except (psycopg.IntegrityError, psycopg.DataError):
        return False
    return True
