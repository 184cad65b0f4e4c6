"""Jobs are deferred on Django's own connection."""

import unittest

import psycopg
import psycopg2
import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext

from taskq import AlreadyEnqueued, InvalidArguments, JobStatus
from taskq.contrib.django import DjangoApp, get_app
from taskq.exceptions import DatabaseUnavailable, InvalidDatabase, InvalidJob
from tests.contrib.django.shop.models import Order
from tests.contrib.django.shop.tasks import count_orders, pay

COUNT = "SELECT count(*) FROM taskq_jobs"


def committed(seen_by: psycopg.Connection) -> int:
    """How many jobs another session sees."""
    row = seen_by.execute(COUNT).fetchone()
    assert row
    return int(row[0])


def run_case(case: TestCase) -> None:
    """Run a test case of Django's, with what is set up for its class."""
    result = unittest.TestResult()
    unittest.TestSuite([case]).run(result)
    assert result.testsRun == 1
    assert result.wasSuccessful(), [*result.errors, *result.failures]


def test_outside_of_atomic_a_job_is_committed_at_once(connection: psycopg.Connection) -> None:
    pay.defer(order_id=1)
    assert committed(connection) == 1


def test_a_job_is_committed_with_the_block_that_it_is_deferred_in(
    connection: psycopg.Connection,
) -> None:
    with transaction.atomic():
        order = Order.objects.create()
        pay.defer(order_id=order.pk)
        assert committed(connection) == 0
    assert committed(connection) == 1


def test_a_job_is_rolled_back_with_the_block_that_it_is_deferred_in(app: DjangoApp) -> None:
    @transaction.atomic
    def order_and_fail() -> None:
        Order.objects.create()
        pay.defer(order_id=1)
        assert len(app.job_manager.list_jobs()) == 1, "the block sees its own job"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        order_and_fail()
    assert len(app.job_manager.list_jobs()) == 0
    assert not Order.objects.exists()


def test_a_savepoint_that_is_rolled_back_takes_its_jobs_alone(app: DjangoApp) -> None:
    with transaction.atomic():
        kept = pay.defer(order_id=1)
        with transaction.atomic():
            pay.defer(order_id=2)
            transaction.set_rollback(True)
    assert [job.id for job in app.job_manager.list_jobs()] == [kept]


def test_an_error_that_is_caught_leaves_the_block_as_it_was(app: DjangoApp) -> None:
    once = pay.configure(queueing_lock="once")
    with transaction.atomic():
        Order.objects.create()
        first = once.defer(order_id=1)
        with pytest.raises(AlreadyEnqueued) as raised:
            once.defer(order_id=1)
        assert raised.value.job_id == first
        assert not connections["default"].needs_rollback
        Order.objects.create()
    assert Order.objects.count() == 2
    assert [job.id for job in app.job_manager.list_jobs()] == [first]


def test_a_block_that_is_broken_takes_no_job() -> None:
    with transaction.atomic():
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            pay.defer(order_id=1)


def test_with_autocommit_off_a_job_waits_for_the_commit(connection: psycopg.Connection) -> None:
    transaction.set_autocommit(False)
    try:
        pay.defer(order_id=1)
        assert committed(connection) == 0
        transaction.rollback()
        pay.defer(order_id=2)
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert committed(connection) == 1


def test_a_job_whose_statement_fails_is_an_error_of_django_if_taskq_has_no_word_for_it() -> None:
    with transaction.atomic(), connections["default"].cursor() as cursor:
        cursor.execute(
            "CREATE OR REPLACE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$BEGIN PERFORM pg_sleep(5); RETURN NEW; END$$"
        )
        cursor.execute(
            "CREATE TRIGGER wait BEFORE INSERT ON taskq_jobs "
            "FOR EACH ROW EXECUTE FUNCTION pg_temp.wait()"
        )
        cursor.execute("SET LOCAL statement_timeout = '1s'")
        with pytest.raises(OperationalError, match="statement timeout"):
            pay.defer(order_id=1)
        assert Order.objects.count() == 0, "the block goes on"
        transaction.set_rollback(True)


def test_a_lost_connection_is_told_and_replaced_as_between_requests() -> None:
    connections["default"].ensure_connection()
    connections["default"].connection.close()
    with pytest.raises(DatabaseUnavailable):
        pay.defer(order_id=1)
    assert connections["default"].errors_occurred
    connections["default"].close_if_unusable_or_obsolete()
    pay.defer(order_id=1)


def test_statements_are_counted_as_those_of_models_are() -> None:
    with CaptureQueriesContext(connections["default"]) as captured:
        pay.defer(order_id=1)
    assert len(captured) == 1
    assert "taskq_defer_jobs" in captured[0]["sql"]


@pytest.mark.parametrize("binding", [False, True])
def test_times_have_their_zone_whatever_use_tz_says(app: DjangoApp, binding: bool) -> None:
    job_id = pay.defer(order_id=1)
    connections["default"].close()
    try:
        connections["default"].settings_dict["OPTIONS"]["server_side_binding"] = binding
        with override_settings(USE_TZ=False):
            assert app.job_manager.get_job(job_id).deferred_at.tzinfo is not None
    finally:
        del connections["default"].settings_dict["OPTIONS"]["server_side_binding"]
        connections["default"].close()


async def test_async_code_defers_in_the_thread_of_djangos_own_queries(app: DjangoApp) -> None:
    job_id = await pay.defer_async(order_id=1)
    assert (await app.job_manager.get_job_async(job_id)).task_kwargs == {"order_id": 1}
    await sync_to_async(connections.close_all)()


def test_async_code_called_from_a_block_is_in_the_block(connection: psycopg.Connection) -> None:
    with transaction.atomic():
        async_to_sync(pay.defer_async)(order_id=1)
        assert committed(connection) == 0
    assert committed(connection) == 1


async def test_sync_deferring_in_an_event_loop_is_refused_as_queries_are() -> None:
    with pytest.raises(SynchronousOnlyOperation):
        pay.defer(order_id=1)


def test_a_job_is_not_waited_for_in_the_block_that_hides_it(app: DjangoApp) -> None:
    with transaction.atomic():
        with pytest.raises(InvalidJob, match="before the transaction commits"):
            count_orders.configure(wait_timeout=1).defer_and_wait()
        job_id = count_orders.defer()
        with pytest.raises(InvalidDatabase, match="after the commit"):
            app.job_manager.wait_for_job(job_id, timeout=1)


def test_another_alias_has_an_app_and_jobs_of_its_own(app: DjangoApp) -> None:
    reports = get_app("reports")
    assert reports is get_app("reports")
    assert reports is not app
    with transaction.atomic(using="reports"):
        reports.configure_task("reports.make").defer(month=1)
        assert len(reports.job_manager.list_jobs()) == 1
        transaction.set_rollback(True, using="reports")
    pay.defer(order_id=1)
    assert len(reports.job_manager.list_jobs()) == 0
    assert len(app.job_manager.list_jobs()) == 1


def test_a_block_of_one_database_does_not_hold_the_jobs_of_another(app: DjangoApp) -> None:
    with transaction.atomic(using="reports"):
        pay.defer(order_id=1)
        transaction.set_rollback(True, using="reports")
    assert len(app.job_manager.list_jobs()) == 1


def test_an_engine_that_is_not_postgresql_is_refused() -> None:
    with pytest.raises(InvalidDatabase, match=r"DATABASES\['file'\] has the engine .*sqlite3"):
        get_app("file").configure_task("x").defer()


def test_psycopg2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(connections["default"]), "Database", psycopg2)
    with pytest.raises(InvalidDatabase, match="is on psycopg2, and taskq needs psycopg 3"):
        pay.defer(order_id=1)


def test_arguments_are_refused_before_anything_is_sent() -> None:
    with CaptureQueriesContext(connections["default"]) as captured, pytest.raises(InvalidArguments):
        pay.batch_defer({"order_id": "x"})
    assert not captured.captured_queries


def test_an_app_on_another_database_leaves_djangos_alone(
    app: DjangoApp, connection: psycopg.Connection, bare_url: str
) -> None:
    with app.replace_database(bare_url):
        app.schema_manager.apply_schema()
        job_id = pay.defer(order_id=1)
        assert app.job_manager.get_job_status(job_id) is JobStatus.TODO
    assert committed(connection) == 0


def test_a_database_that_a_test_may_not_use_takes_no_job(app: DjangoApp) -> None:
    class Forbidding(TestCase):
        databases = ()

        def runTest(self) -> None:  # noqa: N802
            with pytest.raises(AssertionError, match="not allowed"):
                pay.defer(order_id=1)

    run_case(Forbidding())


def test_a_django_test_case_sees_its_jobs_and_leaves_none(
    app: DjangoApp, connection: psycopg.Connection
) -> None:
    class Ordering(TestCase):
        def runTest(self) -> None:  # noqa: N802
            pay.defer(order_id=1)
            assert [job.task_name for job in app.job_manager.list_jobs()] == [pay.name]

    run_case(Ordering())
    assert committed(connection) == 0
