"""Workers run tasks with connections of Django's, as between requests."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connections

from taskq import JobStatus
from taskq.contrib.django import DjangoApp
from tests.contrib.django.shop import tasks
from tests.contrib.django.shop.models import Order

SESSIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def wait_for_no_session(app: DjangoApp, connection: psycopg.Connection) -> None:
    """Wait until the server has seen that all connections but this one are closed."""
    app.close()
    connections["default"].close()
    deadline = time.monotonic() + 10
    while connection.execute(SESSIONS).fetchone() != (0,):
        assert time.monotonic() < deadline, "a connection was left open"
        time.sleep(0.01)


@pytest.fixture
def kept() -> Iterator[None]:
    """Connections are kept from one task to the next."""
    said = connections["default"].settings_dict
    said.update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
    yield
    said.update(CONN_MAX_AGE=0, CONN_HEALTH_CHECKS=False)


def test_tasks_of_installed_apps_are_found(app: DjangoApp) -> None:
    assert {"tests.contrib.django.shop.tasks.pay"} <= app.tasks.keys()


def test_sync_and_async_tasks_use_models_and_leave_no_connection(
    app: DjangoApp, connection: psycopg.Connection
) -> None:
    order = Order.objects.create()
    tasks.pay_later.defer(order_id=order.pk)
    counted = tasks.count_orders.defer()
    app.run_worker(wait=False)
    assert Order.objects.get().paid
    assert tasks.count_orders.result(app.job_manager.get_job(counted)) == 1
    wait_for_no_session(app, connection)


def test_what_a_failed_task_deferred_in_its_block_is_rolled_back(app: DjangoApp) -> None:
    order = Order.objects.create()
    job_id = tasks.pay_and_fail.defer(order_id=order.pk)
    app.run_worker(wait=False)
    assert app.job_manager.get_job_status(job_id) is JobStatus.FAILED
    assert [job.id for job in app.job_manager.list_jobs()] == [job_id]
    assert not Order.objects.get().paid


def test_a_connection_that_was_lost_is_replaced_before_the_next_task(
    app: DjangoApp, kept: None
) -> None:
    first, second = tasks.break_connection.defer(), tasks.break_connection.defer()
    app.run_worker(wait=False, concurrency=1)
    jobs = [app.job_manager.get_job(job_id) for job_id in (first, second)]
    assert [job.status for job in jobs] == [JobStatus.SUCCEEDED] * 2
    assert jobs[0].result != jobs[1].result


def test_async_tasks_reuse_their_threads_connection(
    app: DjangoApp, kept: None, connection: psycopg.Connection
) -> None:
    ids = [tasks.session.defer() for _ in range(3)]
    app.run_worker(wait=False, concurrency=1)
    assert len({app.job_manager.get_job(job_id).result for job_id in ids}) == 1
    wait_for_no_session(app, connection)


def test_async_tasks_side_by_side_do_not_share_a_transaction(app: DjangoApp) -> None:
    ids = [tasks.meet.defer() for _ in range(2)]
    app.run_worker(wait=False, concurrency=2)
    assert len({app.job_manager.get_job(job_id).result for job_id in ids}) == 2
