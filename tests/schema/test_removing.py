"""The schema goes, all of it and nothing else."""

from collections.abc import Callable

import psycopg
import pytest

from taskq.exceptions import MigrationBlocked, SchemaInUse, SchemaNotApplied, SchemaTooNew
from tests.schema.conftest import Folder, InNamespace, Schema

OBJECTS = """
    SELECT 'relation', relname::text FROM pg_class WHERE relnamespace = %(namespace)s::regnamespace
    UNION ALL
    SELECT 'type', typname::text FROM pg_type WHERE typnamespace = %(namespace)s::regnamespace
    UNION ALL
    SELECT 'function', proname::text FROM pg_proc WHERE pronamespace = %(namespace)s::regnamespace
"""


def objects(connection: psycopg.Connection, namespace: str) -> list[tuple[str, str]]:
    rows = connection.execute(OBJECTS.encode(), {"namespace": namespace}).fetchall()
    return sorted((kind, name) for kind, name in rows)


def test_nothing_of_taskq_is_left_and_nothing_else_is_gone(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    app = app_in("shop")
    connection.execute("CREATE TABLE shop.taskq_jobs_archive (id bigint)")
    connection.execute("CREATE FUNCTION shop.mine() RETURNS int LANGUAGE sql RETURN 1")
    before = objects(connection, "shop")
    app.schema_manager.apply_schema()
    app.configure_task("noop").defer()
    assert app.schema_manager.count_users() == (1, 0)
    assert len(objects(connection, "shop")) > len(before)
    assert app.schema_manager.remove() is True
    assert objects(connection, "shop") == before
    assert app.schema_manager.remove() is False
    with pytest.raises(SchemaNotApplied):
        app.schema_manager.count_users()
    assert app.schema_manager.apply_schema(), "and it can come again"


def test_what_depends_on_it_is_named_and_nothing_is_removed(
    schema_in: Schema, connection: psycopg.Connection
) -> None:
    schema = schema_in("shop")
    schema.apply_schema()
    connection.execute("CREATE VIEW shop.report AS SELECT id FROM shop.taskq_jobs")
    before = objects(connection, "shop")
    with pytest.raises(SchemaInUse, match="view report depends on table taskq_jobs"):
        schema.remove()
    assert objects(connection, "shop") == before
    connection.execute("DROP VIEW shop.report")
    assert schema.remove() is True


def test_what_a_newer_version_has_made_is_left_to_it(schema_in: Schema, folder: Folder) -> None:
    coming = folder.add_coming()
    schema_in("shop", folder.path).apply_schema(pre_only=True)
    with pytest.raises(SchemaTooNew, match=coming[0]):
        schema_in("shop").remove()


def test_sessions_that_use_it_are_waited_for_but_not_for_long(
    schema_in: Schema, connect: Callable[[], psycopg.Connection]
) -> None:
    schema = schema_in("shop")
    schema.apply_schema()
    report = connect()
    report.execute("SELECT count(*) FROM shop.taskq_jobs")
    with pytest.raises(MigrationBlocked, match=r"the removal could not get a lock within 0 s"):
        schema.remove(patience=0)
    report.rollback()
    assert schema.remove() is True
