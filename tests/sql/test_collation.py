"""Names are ordered by their bytes, whatever the order of the database is."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from taskq import App, JobStatus
from tests.conftest import url_of
from tests.sql.crowds import insert, vacuum
from tests.sql.plans import counting
from tests.sql.sqlc import claim

NAMES = {
    ("taskq_jobs", "queue_name"),
    ("taskq_jobs", "lock"),
    ("taskq_jobs", "queueing_lock"),
    ("taskq_jobs", "idempotency_key"),
    ("taskq_jobs", "limit_key"),
    ("taskq_jobs", "task_name"),
    ("taskq_open_gates", "limit_key"),
    ("taskq_open_gates", "lock"),
    ("taskq_open_gates", "queue_name"),
}


def test_every_name_in_an_index_of_jobs_and_locks_is_ordered_by_bytes(
    connection: psycopg.Connection,
) -> None:
    columns = connection.execute(
        "SELECT DISTINCT attrelid::regclass::text, attname, collname "
        "FROM pg_attribute INNER JOIN pg_collation ON attcollation = pg_collation.oid "
        "WHERE attrelid IN ('taskq_jobs'::regclass, 'taskq_open_gates'::regclass) AND collname = 'C'"
    ).fetchall()
    assert {(table, column) for table, column, _ in columns} == NAMES
    in_indexes = connection.execute(
        "SELECT DISTINCT collname "
        "FROM pg_index INNER JOIN pg_collation ON pg_collation.oid = ANY(indcollation) "
        "WHERE indrelid IN ('taskq_jobs'::regclass, 'taskq_open_gates'::regclass)"
    ).fetchall()
    assert in_indexes == [("C",)]


@pytest.fixture
def english(connection: psycopg.Connection) -> Iterator[App]:
    """An app with a database in which a comes before B; the embedded server is built without ICU."""
    info = connection.info
    name = f"{info.dbname}_english"
    create = (
        "CREATE DATABASE {} LOCALE_PROVIDER icu ICU_LOCALE 'en' ENCODING 'UTF8' TEMPLATE template0"
    )
    try:
        connection.execute(sql.SQL(create).format(sql.Identifier(name)))
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.SyntaxError) as error:
        pytest.skip(f"this server has no other order: {error}")
    with App(url_of(info.host, info.port, info.user, name, info.password)) as app:
        app.schema_manager.apply_schema()
        yield app
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def in_english(english: App) -> Iterator[psycopg.Connection]:
    """A connection to that database."""
    parameters = english.database.libpq_parameters()
    with psycopg.connect(**parameters, autocommit=True) as connection:  # type: ignore[arg-type]
        assert connection.execute("SELECT 'a' < 'B'").fetchone() == (True,)
        yield connection


def test_queues_are_listed_in_the_order_of_bytes(
    english: App, in_english: psycopg.Connection
) -> None:
    for queue in ("a", "B", "é", "Z"):
        insert(in_english, 1, queue=f"'{queue}'")
    counts = english.job_manager.count_jobs(status=JobStatus.TODO)
    assert [queue for queue, _, _ in counts] == ["B", "Z", "a", "é"]


def test_a_claim_of_all_queues_goes_from_one_to_the_next_by_bytes(
    in_english: psycopg.Connection,
) -> None:
    for queue in ("Y", "a", "Z", "B", "é"):
        insert(in_english, 1, queue=f"'{queue}'")
        insert(in_english, 1, queue=f"'{queue}'", lock=f"'{queue} ' || n")
    claimed = claim(in_english, max_jobs=20)
    assert sorted(job["queue_name"] for job in claimed) == sorted("YaZBé" * 2)


@pytest.mark.parametrize("plans", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("queue_names", [None, ["default"]], ids=["all", "named"])
def test_a_claim_goes_along_the_indexes(
    in_english: psycopg.Connection, queue_names: list[str] | None, plans: str
) -> None:
    insert(in_english, 10_000)
    insert(in_english, 10_000, lock="'own ' || n")
    insert(in_english, 100, queue="'queue ' || n", priority="1")
    vacuum(in_english, "taskq_jobs", "taskq_open_gates")
    with counting(in_english, plans) as count:
        jobs = claim(in_english, max_jobs=10, queue_names=queue_names, marks={("default", 0): 5})
        counted = count()
    assert len(jobs) == 10
    assert counted.whole_tables == 0
    assert counted.read <= 2000
