"""What each kind of role may do with each table, column and function that the catalog has, by trying it.

What is said here is said once more than in sql/queries/grants.sql, so that neither is widened unnoticed; a
table or a function that is new is in neither, and has these fail until it is decided what it is to whom.
"""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from taskq import App
from taskq.schema import RoleKind
from tests.schema.conftest import InNamespace, Program

STRANGER = "stranger"

READ, ALL = {"SELECT"}, {"SELECT", "INSERT", "UPDATE", "DELETE"}
KEPT = ALL - {"DELETE"}

# By table, and for views: what a worker may do, and what an observer may.
TABLES: dict[str, tuple[set[str], set[str]]] = {
    "taskq_jobs": (ALL, READ),
    "taskq_workers": (ALL, READ),
    "taskq_failed_attempts": (KEPT, READ),
    "taskq_periodic": (KEPT, READ),
    "taskq_retention": (KEPT, READ),
    "taskq_open_gates": (ALL, READ),
    "taskq_limit_gates": (ALL, READ),
    "taskq_limits": (ALL, READ),
    "taskq_queue_limits": (ALL, READ),
    "taskq_limit_rates": (ALL, READ),
    "taskq_pauses": (ALL, READ),
    "taskq_subscriptions": (ALL, READ),
    "taskq_migrations": (READ, READ),
    # Claims lock what they take of it.
    "taskq_ready": ({"SELECT", "UPDATE"}, READ),
    "taskq_limited": (READ, READ),
    "taskq_barred_queues": (READ, READ),
}

VIEWS = {"taskq_ready", "taskq_limited", "taskq_barred_queues"}

# A deferrer has columns: what it may read, and what it may write into a new row. All else is refused.
DEFERRER: dict[str, tuple[str, str]] = {
    "taskq_jobs": (
        "id status queue_name priority lock queueing_lock idempotency_key limit_key due paused worker_id",
        "task_name args queue_name priority lock queueing_lock idempotency_key limit_key scheduled_at due "
        "metadata tags awaited expires_at",
    ),
    "taskq_open_gates": ("queue_name priority job_id limit_key", "*"),
    "taskq_limit_gates": ("", "*"),
    "taskq_queue_limits": ("queue_name limit_key", ""),
    "taskq_limited": ("*", ""),
    "taskq_subscriptions": ("*", ""),
    "taskq_migrations": ("*", ""),
}

_DEFERRING = {
    *("taskq_defer_jobs", "taskq_new_jobs", "taskq_publish", "taskq_key_text", "taskq_channel"),
    *("taskq_notify", "taskq_listen", "taskq_lock_head", "taskq_lock_holder", "taskq_open_locks"),
    *("taskq_limit_head", "taskq_limit_places", "taskq_turn", "taskq_open_limits"),
    "taskq_open_for_jobs",
}
_OBSERVING = {
    *("taskq_job_fits", "taskq_has_error", "taskq_limit_figures", "taskq_limit_state"),
    *("taskq_next_limit_key", "taskq_backlog", "taskq_next_filled_queue", "taskq_next_ready_queue"),
    *("taskq_is_ready", "taskq_is_full", "taskq_lock_head", "taskq_lock_holder"),
}
# What a worker alone calls: it may call the others', too.
_WORKING = {
    *("taskq_abort", "taskq_pause", "taskq_ended", "taskq_incarnation", "taskq_expire_jobs"),
    *("taskq_ready_jobs", "taskq_take_ready_jobs", "taskq_bar_paused_jobs"),
    *("taskq_let_in_paused_jobs", "taskq_limited_jobs", "taskq_settle_limits", "taskq_free_limits"),
    *("taskq_try_gate", "taskq_lock_runs", "taskq_take_gated_jobs", "taskq_claim_jobs"),
}
# Of a trigger: whoever changes the row has it run, and none calls it.
_NOBODYS = {"taskq_notify_ended"}
FUNCTIONS: dict[str, set[str]] = {
    "deferrer": _DEFERRING,
    "observer": _OBSERVING,
    "worker": _DEFERRING | _OBSERVING | _WORKING,
    STRANGER: set(),
}


@pytest.fixture
def owner(app_in: InNamespace, connection: psycopg.Connection) -> App:
    """The app of the owner of a schema, whose functions are not everybody's."""
    app = app_in("shop")
    connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    app.schema_manager.apply_schema()
    connection.execute("SET search_path TO shop")
    return app


@pytest.fixture(params=["deferrer", "worker", "observer", STRANGER])
def kind(
    request: pytest.FixtureRequest, owner: App, connection: psycopg.Connection, run_psql: Program
) -> Iterator[RoleKind]:
    """A kind of role, as which the connection asks until the end of the test."""
    role = f"{request.param} {uuid4().hex}"
    connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    if request.param == STRANGER:
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA shop TO {}").format(sql.Identifier(role)))
    else:
        run_psql(owner.schema_manager.grants(role, request.param))
    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
    yield request.param
    connection.execute("RESET ROLE")
    connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
    connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def may(connection: psycopg.Connection, statement: str) -> bool:
    """Whether a role may run a statement, whatever it comes to; nothing of it stays."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL statement_timeout = '5s'")
            connection.execute(statement.encode(), prepare=False)
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.Error:
        pass  # it was let in, and fails for what it was given
    return True


def columns(connection: psycopg.Connection) -> dict[str, list[str]]:
    """The columns of each table and view of the schema."""
    found: dict[str, list[str]] = {}
    for table, column in connection.execute(
        "SELECT relname, attname FROM pg_class INNER JOIN pg_attribute ON attrelid = pg_class.oid "
        "WHERE relnamespace = 'shop'::regnamespace AND relkind IN ('r', 'v', 'm', 'p', 'f') "
        "AND attnum > 0 AND NOT attisdropped ORDER BY relname, attnum"
    ):
        found.setdefault(table, []).append(column)
    return found


def test_each_table_is_in_these_tests(owner: App, connection: psycopg.Connection) -> None:
    assert columns(connection).keys() == TABLES.keys()
    assert DEFERRER.keys() < TABLES.keys()


def test_a_role_does_with_each_table_and_column_what_is_its_to_do(
    kind: str, connection: psycopg.Connection
) -> None:
    wrong = []
    for table, names in columns(connection).items():
        expected: dict[str, set[str]]
        everywhere: set[str] = set()
        if kind == "deferrer":
            reads, writes = DEFERRER.get(table, ("", ""))
            expected = {
                "SELECT": set(names) if reads == "*" else set(reads.split()),
                "INSERT": set(names) if writes == "*" else set(writes.split()),
            }
        else:
            worker, observer = TABLES[table]
            everywhere = {"worker": worker, "observer": observer}.get(kind, set())
            expected = {operation: set(names) for operation in everywhere}
        for name in names:
            for operation, statement in (
                ("SELECT", f'SELECT "{name}" FROM {table} LIMIT 0'),
                (
                    "INSERT",
                    f'INSERT INTO {table} ("{name}") OVERRIDING SYSTEM VALUE SELECT NULL WHERE false',
                ),
                ("UPDATE", f'UPDATE {table} SET "{name}" = DEFAULT WHERE false'),
            ):
                allowed = name in expected.get(operation, ())
                if table in VIEWS and operation != "SELECT":
                    # PostgreSQL says whether it is one to write through before it asks who writes.
                    tried = has_column(connection, table, name, operation)
                else:
                    tried = may(connection, statement)
                if tried != allowed:
                    wrong.append((operation, table, name))
        kind_of = "VIEW" if table in VIEWS else "TABLE"
        for operation, statement in (
            ("DELETE", f"DELETE FROM {table} WHERE false"),
            ("TRUNCATE", f"TRUNCATE {table}"),
            ("LOCK", f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"),
            ("ALTER", f"ALTER {kind_of} {table} RENAME TO mine"),
            ("DROP", f"DROP {kind_of} {table}"),
            ("TRIGGER", f"CREATE TRIGGER mine BEFORE INSERT ON {table} EXECUTE FUNCTION mine()"),
        ):
            if table in VIEWS and operation in {"DELETE", "TRUNCATE", "TRIGGER"}:
                continue
            # Whoever may change rows may lock them all out as well, as PostgreSQL has it.
            allowed = operation in everywhere or (
                operation == "LOCK" and bool(everywhere & {"UPDATE", "DELETE"})
            )
            if may(connection, statement) != allowed:
                wrong.append((operation, table, "*"))
    assert not wrong, wrong


def test_a_role_calls_the_functions_that_are_its_to_call(
    kind: str, connection: psycopg.Connection
) -> None:
    wrong = []
    seen = set()
    for name, arguments, is_trigger in connection.execute(
        "SELECT proname, ARRAY(SELECT format_type(kind, NULL) FROM unnest(proargtypes) AS kind), "
        "prorettype = 'trigger'::regtype FROM pg_proc WHERE pronamespace = 'shop'::regnamespace"
    ).fetchall():
        seen.add(name)
        values = ", ".join(f"NULL::{argument}" for argument in arguments)
        allowed = has_execute(connection, name, arguments)
        # To call it is what counts; that of a trigger none can.
        called = allowed if is_trigger else may_call(connection, f"SELECT {name}({values})", name)
        if not allowed == called == (name in FUNCTIONS[kind]):
            wrong.append((name, allowed, called))
    assert wrong == []
    assert seen == FUNCTIONS["worker"] | _NOBODYS, "a function that is not in these tests"


def has_column(connection: psycopg.Connection, table: str, column: str, operation: str) -> bool:
    row = connection.execute(
        "SELECT has_column_privilege(%s, %s, %s)", [table, column, operation]
    ).fetchone()
    assert row
    return bool(row[0])


def has_execute(connection: psycopg.Connection, name: str, arguments: list[str]) -> bool:
    row = connection.execute(
        "SELECT has_function_privilege(%s, 'EXECUTE')", [f"{name}({', '.join(arguments)})"]
    ).fetchone()
    assert row
    return bool(row[0])


def may_call(connection: psycopg.Connection, statement: str, name: str) -> bool:
    """Whether a function is let be called: what it does itself may be refused for what it was given."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode(), prepare=False)
    except psycopg.errors.InsufficientPrivilege as refusal:
        return (refusal.diag.message_primary or "") != f"permission denied for function {name}"
    except psycopg.Error:
        pass
    return True


def test_no_function_has_the_rights_of_its_owner(
    owner: App, connection: psycopg.Connection
) -> None:
    """What a role may not do by itself it can do by no function of taskq's."""
    rows = connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'shop'::regnamespace AND prosecdef"
    ).fetchall()
    assert rows == []


def test_no_role_may_more_in_the_namespace_than_use_it(
    kind: str, connection: psycopg.Connection
) -> None:
    for statement in (
        "CREATE TABLE mine ()",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
        "CREATE TYPE mine AS ENUM ()",
        "CREATE VIEW mine AS SELECT 1",
        "CREATE SCHEMA mine",
        "DROP SCHEMA shop CASCADE",
        "ALTER SCHEMA shop RENAME TO mine",
        "ALTER TYPE taskq_job_status ADD VALUE 'mine'",
        "SELECT setval(pg_get_serial_sequence('shop.taskq_jobs', 'id'), 1)",
        "SELECT nextval(pg_get_serial_sequence('shop.taskq_jobs', 'id'))",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY taskq_migrations TO PROGRAM 'true'",
    ):
        assert not may(connection, statement), statement
