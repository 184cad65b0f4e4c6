"""All of taskq lives in one namespace, and two of them know nothing of each other."""

import asyncio
from functools import partial
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus
from taskq.exceptions import InvalidDatabase, SchemaNotApplied
from taskq.schema import read_migrations
from tests.schema.conftest import InNamespace, Schema
from tests.worker.conftest import until


def test_two_namespaces_of_one_database_know_nothing_of_each_other(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    apps: dict[str, Any] = {name: app_in(name) for name in ("one", "two")}
    for app in apps.values():
        assert app.schema_manager.apply_schema() == read_migrations()
    connection.execute("SELECT one.taskq_listen()")
    two = apps["two"].configure_task("noop", queue="of_two", queueing_lock="q").defer()
    one = apps["one"].configure_task("noop", queue="of_one", queueing_lock="q").defer()
    # The first to arrive, although the other was sent before.
    [notify] = connection.notifies(timeout=10, stop_after=1)
    assert notify.payload.endswith(" of_one")
    assert one == two == 1
    assert apps["one"].job_manager.cancel_job_by_id(one) is True
    assert {name: app.job_manager.count_jobs() for name, app in apps.items()} == {
        "one": {("of_one", "noop", JobStatus.CANCELLED): 1},
        "two": {("of_two", "noop", JobStatus.TODO): 1},
    }


async def test_workers_of_two_namespaces_run_at_once_and_each_only_its_own_jobs(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    ran: dict[str, list[int]] = {"one": [], "two": []}
    workers, running = [], []
    for name, mine in ran.items():
        app = app_in(name)
        await app.schema_manager.apply_schema_async()

        # The same name, queue and lock in both.
        @app.task(name="note")
        async def note(number: int, mine: list[int] = mine) -> None:
            mine.append(number)

        # Only notifications can wake it in time.
        worker = app.worker(fetch_job_polling_interval=3600, install_signal_handlers=False)
        workers.append(worker)
        running.append(asyncio.create_task(worker.run()))

    def has_run(name: str, jobs: int) -> bool:
        return len(ran[name]) == jobs

    listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND state = 'idle' AND query ~ 'taskq_listen' AND pid <> pg_backend_pid()"
    )
    await until(lambda: connection.execute(listening.encode()).fetchone() == (2,), "two listeners")
    for number in range(10):
        for index, name in enumerate(ran):
            deferrer = workers[index].app.configure_task("note", lock="the same")
            await deferrer.defer_async(number=2 * number + index)
            await until(partial(has_run, name, number + 1), f"a job of {name}")
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    assert ran == {"one": list(range(0, 20, 2)), "two": list(range(1, 20, 2))}
    for worker in workers:
        assert await worker.app.job_manager.count_jobs_async() == {
            ("default", "note", JobStatus.SUCCEEDED): 10
        }


def test_a_namespace_in_front_of_one_with_the_schema_gets_its_own(
    app_in: InNamespace, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE SCHEMA front")
    assert app_in("front,public").schema_manager.apply_schema()
    present = connection.execute("SELECT to_regclass('front.taskq_jobs') IS NOT NULL").fetchone()
    assert present == (True,)


def test_functions_keep_to_their_namespace_from_whatever_session_they_are_called(
    schema_in: Schema, connection: psycopg.Connection
) -> None:
    connection.execute("CREATE SCHEMA shop")
    schema_in("shop,public").apply_schema()
    settings = (
        "SELECT DISTINCT unnest(proconfig) FROM pg_proc "
        "WHERE pronamespace = 'shop'::regnamespace AND proconfig IS NOT NULL"
    )
    assert connection.execute(settings.encode()).fetchall() == [("search_path=shop, pg_temp",)]
    # What lies in wait for a name without a namespace in front of it.
    connection.execute("CREATE TEMPORARY TABLE taskq_jobs (id int)")
    connection.execute("""SELECT shop.taskq_defer_jobs('[{"task_name": "noop"}]')""")
    assert connection.execute("SELECT count(*) FROM shop.taskq_jobs").fetchone() == (1,)


@pytest.mark.parametrize(
    ("path", "named"),
    [("nowhere", "nowhere"), ('"$user",jobs', "jobs"), ('"No Where"', '"No Where"')],
)
def test_a_namespace_that_does_not_exist_is_not_made_but_said_how(
    database_url: str, path: str, named: str
) -> None:
    escaped = path.replace('"', "%22").replace(" ", "%5C+").replace("$", "%24")
    app = App(f"{database_url}&options=-csearch_path%3D{escaped}")
    try:
        for refused in (
            app.schema_manager.apply_schema,
            app.schema_manager.sql,
            app.schema_manager.status,
            app.schema_manager.remove,
        ):
            with pytest.raises(InvalidDatabase) as refusal:
                refused()
            assert f"run CREATE SCHEMA {named}, or" in str(refusal.value)
        with pytest.raises(SchemaNotApplied):
            app.schema_manager.check()
    finally:
        app.close()
