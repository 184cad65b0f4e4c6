"""From each version to the next with rows in the tables, under way and while a worker drains them."""

import json
import re
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest

from tests.cli.conftest import process
from tests.schema.conftest import Folder, Program, Schema, Url

JOBS = 100_000
BATCH = 5_000


def defer_jobs(connection: psycopg.Connection, namespace: str, first: int, count: int) -> None:
    """Defer jobs, every tenth of them with one of fifty locks."""
    jobs = [
        {"task_name": "noop"} | ({"lock": f"lock {n % 500 // 10}"} if n % 10 == 0 else {})
        for n in range(first, first + count)
    ]
    connection.execute(
        f"SELECT count(*) FROM {namespace}.taskq_defer_jobs(%s)".encode(), [json.dumps(jobs)]
    )


def fill(connection: psycopg.Connection, namespace: str) -> None:
    """Put rows into every table."""
    defer_jobs(connection, namespace, 0, 50)
    for statement in (
        "INSERT INTO taskq_workers (name) VALUES ('w')",
        "UPDATE taskq_jobs SET status = 'doing', worker_id = 1, claim = 1, started_at = now() WHERE id = 1",
        "INSERT INTO taskq_open_gates VALUES ('default', 0, 1, 'lock 0')",
        "INSERT INTO taskq_pauses (kind, name) VALUES ('queue', 'mail')",
        "INSERT INTO taskq_limits (limit_key, by_operator, concurrency) VALUES ('tenant', false, 1)",
        "INSERT INTO taskq_queue_limits (queue_name, limit_key) VALUES ('mail', 'tenant')",
        "INSERT INTO taskq_limit_rates VALUES ('tenant', now())",
        "INSERT INTO taskq_limit_gates VALUES ('default', 0, 1, 'tenant')",
        "UPDATE taskq_jobs SET status = 'failed', claim = 1, finished_at = now() WHERE id = 2",
        "INSERT INTO taskq_failed_attempts VALUES (2, 1, 1, 1, now(), 'ValueError', 'no', '')",
        "INSERT INTO taskq_periodic VALUES ('noop', '', 1)",
        "INSERT INTO taskq_retention VALUES (true, 1, now())",
        "INSERT INTO taskq_subscriptions (event, task_name, queue_name) VALUES ('paid', 'noop', 'mail')",
    ):
        connection.execute(
            re.sub(r"\b(taskq_\w+)", rf"{namespace}.\1", statement).encode(), prepare=False
        )


def contents(connection: psycopg.Connection, namespace: str) -> dict[str, int]:
    """How many rows each table has, but for the record of the migrations themselves."""
    tables = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = %s AND tablename <> 'taskq_migrations'",
        [namespace],
    ).fetchall()
    counted = {}
    for (table,) in tables:
        row = connection.execute(f"SELECT count(*) FROM {namespace}.{table}".encode()).fetchone()
        assert row
        counted[table] = int(row[0])
    return counted


def test_each_version_goes_to_the_next_with_rows_in_the_tables_and_ends_as_a_fresh_one(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection, dump: Program
) -> None:
    folder.add_coming()
    upgraded = schema_in("ns_upgraded", folder.path)
    upgraded.apply_schema(up_to=len(folder.real))
    fill(connection, "ns_upgraded")
    before = contents(connection, "ns_upgraded")
    assert all(before.values()), "a table that is not filled"
    for status in upgraded.status()[len(folder.real) :]:
        [applied] = upgraded.apply_schema(up_to=status.version)
        assert applied.version == status.version
        # Nothing is lost; what a version adds may be empty.
        assert contents(connection, "ns_upgraded").items() >= before.items()
    fresh = schema_in("ns_fresh", folder.path)
    fresh.apply_schema()
    assert dump("ns_upgraded") == dump("ns_fresh")

    recorded = "SELECT version, name, checksum FROM {}.taskq_migrations ORDER BY version"
    one, two = (
        connection.execute(recorded.format(namespace).encode()).fetchall()
        for namespace in ("ns_upgraded", "ns_fresh")
    )
    assert one == two


def test_what_is_run_outside_of_a_transaction_is_as_it_should_be_if_it_runs_twice(
    schema_in: Schema, folder: Folder, connection: psycopg.Connection, dump: Program
) -> None:
    folder.add_coming()
    smooth = schema_in("ns_smooth", folder.path)
    concurrent = [migration for migration in smooth.apply_schema() if migration.is_concurrent]
    assert concurrent
    rough = schema_in("ns_rough", folder.path)
    for migration in concurrent:
        rough.apply_schema(up_to=migration.version)
        # As if it had been cut off just before it was recorded.
        forget = "DELETE FROM ns_rough.taskq_migrations WHERE version = %s"
        connection.execute(forget, [migration.version])
        assert rough.apply_schema(up_to=migration.version) == [migration]
    rough.apply_schema()
    assert dump("ns_rough") == dump("ns_smooth")


@pytest.mark.slow
def test_a_worker_that_drains_100k_jobs_notices_nothing_of_the_migrations(
    schema_in: Schema,
    url_in: Url,
    folder: Folder,
    connection: psycopg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    folder.add_coming()
    schema = schema_in("ns_drained", folder.path)
    schema.apply_schema(up_to=len(folder.real))
    for first in range(0, JOBS, BATCH):
        defer_jobs(connection, "ns_drained", first, BATCH)
    # What this version's own code needs, before it runs.
    real = schema_in("ns_drained")
    real.apply_schema(pre_only=True)
    monkeypatch.setenv("TASKQ_DATABASE_URL", url_in("ns_drained"))
    done = "SELECT count(*) FROM ns_drained.taskq_jobs WHERE status = 'succeeded'"

    def finished() -> int:
        row = connection.execute(done.encode()).fetchone()
        assert row
        return int(row[0])

    options = ("--app", "tests.schema.shop:app", "--concurrency", "100", "--no-wait")
    # A file: a pipe would be full of what it logs, and nothing reads it meanwhile.
    with (
        (tmp_path / "said").open("w+") as said,
        process("worker", *options, stderr=said) as worker,
    ):
        deadline = monotonic() + 60
        while finished() < JOBS // 50:
            assert worker.poll() is None
            assert monotonic() < deadline
            sleep(0.05)
        assert all([schema.apply_schema(pre_only=True), schema.apply_schema()])
        assert finished() < JOBS, "the worker was done before the migrations were"
        assert worker.wait(timeout=240) == 0
        said.seek(0)
        assert [line for line in said if " INFO " not in line] == []
    ends = (
        "SELECT status::text, claim, crashes, count(*) FROM ns_drained.taskq_jobs GROUP BY 1, 2, 3"
    )
    assert connection.execute(ends.encode()).fetchall() == [("succeeded", 1, 0, JOBS)]
    assert contents(connection, "ns_drained")["taskq_open_gates"] == 0


@pytest.mark.slow
def test_a_worker_runs_on_what_the_next_version_has_prepared_and_on_nothing_older_or_newer(
    schema_in: Schema, url_in: Url, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming = folder.add_coming()
    schema = schema_in("shop", folder.path)
    monkeypatch.setenv("TASKQ_DATABASE_URL", url_in("shop"))

    def run_worker() -> tuple[int, str]:
        options = ("--app", "tests.schema.shop:app", "--no-wait")
        with process("worker", *options) as worker:
            said = worker.communicate(timeout=60)[1]
        return worker.returncode, said.strip().splitlines()[-1]

    code, said = run_worker()
    assert (code, "run python -m taskq schema apply" in said) == (1, True), said
    schema.apply_schema(pre_only=True)
    assert run_worker()[0] == 0
    schema.apply_schema()
    code, said = run_worker()
    assert code == 1
    assert said == (
        f"Error: the database has '{coming[-1]}', which this version of taskq does not know: it was "
        "migrated for a newer one; install that (pip install --upgrade taskq-sql)"
    )
