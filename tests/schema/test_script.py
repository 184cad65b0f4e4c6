"""The script for those who apply migrations themselves: psql runs it as it is."""

import psycopg
import pytest

from taskq.exceptions import SchemaNotApplied
from taskq.schema import Phase
from tests.schema.conftest import Folder, Program, Schema


def test_psql_makes_of_it_what_apply_makes(
    schema_in: Schema,
    folder: Folder,
    run_psql: Program,
    dump: Program,
    connection: psycopg.Connection,
) -> None:
    folder.add_coming()
    by_hand, applied = schema_in("ns_by_hand", folder.path), schema_in("ns_applied", folder.path)
    applied.apply_schema()
    run_psql(by_hand.sql())
    by_hand.check()
    assert by_hand.sql() == "", "as nothing is pending"
    assert by_hand.apply_schema() == []
    assert dump("ns_by_hand") == dump("ns_applied")
    recorded = "SELECT version, name, checksum FROM {}.taskq_migrations ORDER BY version"
    one, two = (
        connection.execute(recorded.format(namespace).encode()).fetchall()
        for namespace in ("ns_by_hand", "ns_applied")
    )
    assert one == two


def test_a_deployment_is_two_scripts(schema_in: Schema, folder: Folder, run_psql: Program) -> None:
    folder.add_coming()
    schema = schema_in("shop", folder.path)
    with pytest.raises(SchemaNotApplied):
        schema.check()
    run_psql(schema.sql(pre_only=True))
    schema.check()
    assert {status.phase for status in schema.status() if status.applied_at is None} == {Phase.POST}
    run_psql(schema.sql())
    assert all(status.applied_at for status in schema.status())


def test_a_namespace_with_a_name_that_has_to_be_quoted_is_the_one_that_is_meant(
    schema_in: Schema, run_psql: Program, connection: psycopg.Connection
) -> None:
    connection.execute('CREATE SCHEMA "My ""Jobs"')
    schema = schema_in("%22My%5C+%22%22Jobs%22,public")
    run_psql(schema.sql())
    schema.check()
    found = connection.execute("""SELECT to_regclass('"My ""Jobs".taskq_jobs') IS NOT NULL""")
    assert found.fetchone() == (True,)


def test_it_stops_at_the_first_error_and_what_was_applied_stays(
    schema_in: Schema, folder: Folder, run_psql: Program, connection: psycopg.Connection
) -> None:
    schema_in("shop").apply_schema()
    good = folder.add("pre_good", "CREATE TABLE good ();")
    bad = folder.add("pre_bad", "CREATE TABLE half ();\nSELECT 1 / 0;")
    never = folder.add("pre_never", "CREATE TABLE never ();")
    schema = schema_in("shop", folder.path)
    assert "division by zero" in run_psql(schema.sql(), succeeds=False)
    pending = [status.name for status in schema.status() if status.applied_at is None]
    assert (good not in pending, pending) == (True, [bad, never])
    for table in ("half", "never"):
        found = connection.execute(f"SELECT to_regclass('shop.{table}')".encode()).fetchone()
        assert found == (None,)


def test_it_runs_beside_no_other_migration(
    schema_in: Schema, run_psql: Program, connection: psycopg.Connection
) -> None:
    schema = schema_in("shop")
    lock = "pg_advisory{}lock(hashtextextended('taskq_migrations of shop', 0))"
    connection.execute(f"SELECT {lock.format('_')}".encode())
    said = run_psql(schema.sql(), succeeds=False)
    assert "another session applies the schema of taskq" in said
    assert not schema.is_applied()
    connection.execute(f"SELECT {lock.format('_un')}".encode())
    run_psql(schema.sql())
    schema.check()


def test_it_leaves_the_session_as_it_was(
    schema_in: Schema, folder: Folder, run_psql: Program
) -> None:
    folder.add_coming()
    shown = (
        "\\pset tuples_only on\nSHOW search_path;\nSHOW lock_timeout;\nSHOW statement_timeout;\n"
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid();\n"
    )
    untouched = run_psql(shown)
    assert run_psql(schema_in("shop", folder.path).sql() + shown).endswith(untouched)
