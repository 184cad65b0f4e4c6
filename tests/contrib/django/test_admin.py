"""Jobs in Django's admin."""

from typing import Any

import psycopg
import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import NotSupportedError, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from taskq import JobStatus
from taskq.contrib.django import DjangoApp
from taskq.contrib.django.models import Job, Worker
from tests.contrib.django.shop import tasks

JOBS = "/admin/taskq/job/"


@pytest.fixture(autouse=True)
def migrated(on_databases: None) -> None:
    call_command("migrate", verbosity=0)


@pytest.fixture
def client() -> Client:
    """An operator's browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("ada"))
    return client


def of_role(*permissions: str) -> Client:
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def act(client: Client, action: str, *ids: int, **more: Any) -> str:
    answer = client.post(JOBS, {"action": action, "_selected_action": ids, **more}, follow=True)
    assert answer.status_code == 200
    page: str = answer.content.decode()
    return page


def test_jobs_are_listed_newest_first_in_pages(client: Client) -> None:
    ids = tasks.pay.batch_defer(*({"order_id": number} for number in range(101)))
    first = client.get(JOBS).content.decode()
    assert f"{JOBS}{ids[-1]}/change/" in first
    assert f"{JOBS}{ids[0]}/change/" not in first
    older = f"?p={ids[1]}"
    assert older in first
    second = client.get(JOBS + older).content.decode()
    assert f"{JOBS}{ids[0]}/change/" in second
    assert "older jobs" not in second


def test_the_list_is_filtered_and_searched(client: Client, app: DjangoApp) -> None:
    job_id = tasks.pay.defer(order_id=1)
    failed = tasks.pay_and_fail.defer(order_id=1)
    app.run_worker(wait=False)
    links = {job_id: f"{JOBS}{job_id}/change/", failed: f"{JOBS}{failed}/change/"}
    for query, shown in (
        ("?status=failed", {failed}),
        ("?queue=mail", {job_id}),
        (f"?task={tasks.pay.name}&status=succeeded", {job_id}),
        (f"?q={job_id}", {job_id}),
        ("?q=no+money", {failed}),
        ("?status=doing", set()),
        (f"?q={10**30}", set()),
        ("?status=nonsense", set()),
    ):
        page = client.get(JOBS + query, follow=True).content.decode()
        assert {one for one, link in links.items() if link in page} == shown, query


def test_nothing_counts_the_table(client: Client) -> None:
    tasks.pay.batch_defer(*({"order_id": number} for number in range(3)))
    with CaptureQueriesContext(connections["default"]) as captured:
        client.get(JOBS)
        client.get(JOBS + "?status=todo")
    asked = [query["sql"] for query in captured]
    assert len([sql for sql in asked if "page_jobs" in sql]) == 2, "bounded, and taskq's own"
    assert not [sql for sql in asked if '"taskq_jobs"' in sql], "none is by the model"


def test_a_job_is_shown_with_its_arguments_and_errors(client: Client, app: DjangoApp) -> None:
    job_id = tasks.pay_and_fail.defer(order_id=1)
    app.run_worker(wait=False)
    page = client.get(f"{JOBS}{job_id}/change/").content.decode()
    assert "&quot;order_id&quot;: 1" in page
    assert "RuntimeError: no money" in page
    assert 'name="_save"' not in page


def test_the_actions_of_the_job_manager(client: Client, app: DjangoApp) -> None:
    def status(job_id: int) -> JobStatus:
        return app.job_manager.get_job_status(job_id)

    job_id = tasks.pay.configure(schedule_in={"hours": 1}).defer(order_id=1)
    assert "1 rescheduled" in act(client, "run_now", job_id)
    assert "1 cancelled" in act(client, "cancel", job_id)
    assert status(job_id) is JobStatus.CANCELLED
    other = tasks.pay.defer(order_id=1)
    assert "1 put back, 1 not" in act(client, "retry", job_id, other)
    assert status(job_id) is JobStatus.TODO
    assert "1 cancelled or asked to abort" in act(client, "abort", job_id)
    assert "0 put back, 1 not" in act(client, "retry", other)
    assert "Delete them" in act(client, "remove", job_id)
    assert status(job_id) is JobStatus.CANCELLED, "not before it is confirmed"
    assert "1 deleted" in act(client, "remove", job_id, confirmed="yes")
    assert LogEntry.objects.filter(object_id=str(job_id)).count() == 5


def test_all_jobs_at_once_are_not_chosen(client: Client, app: DjangoApp) -> None:
    chosen, other = tasks.pay.defer(order_id=1), tasks.pay.defer(order_id=2)
    act(client, "cancel", chosen, select_across="1")
    assert app.job_manager.get_job_status(other) is JobStatus.TODO


def test_what_is_refused_is_said(client: Client, app: DjangoApp) -> None:
    once = tasks.pay.configure(queueing_lock="once")
    cancelled = once.defer(order_id=1)
    app.job_manager.cancel_job_by_id(cancelled)
    once.defer(order_id=1)
    assert "0 put back" in act(client, "retry", cancelled)


def test_who_may_only_look_has_no_actions() -> None:
    job_id = tasks.pay.defer(order_id=1)
    client = of_role("view_job")
    page = client.get(JOBS).content.decode()
    assert f"{JOBS}{job_id}/change/" in page
    assert 'name="action"' not in page
    assert client.get(f"{JOBS}add/").status_code == 403
    assert client.post(f"{JOBS}{job_id}/change/", {"priority": 1}).status_code == 403
    assert client.get(f"{JOBS}{job_id}/delete/").status_code == 403
    act(client, "cancel", job_id)
    assert Job.objects.get(pk=job_id).status == "todo"


def test_who_may_change_jobs_may_not_delete_them() -> None:
    client = of_role("view_job", "change_job")
    tasks.pay.defer(order_id=1)
    page = client.get(JOBS).content.decode()
    assert 'value="cancel"' in page
    assert 'value="remove"' not in page
    assert of_nobody().get(JOBS).status_code == 302


def of_nobody() -> Client:
    return Client()


def test_workers_are_listed(client: Client, connection: psycopg.Connection) -> None:
    connection.execute("INSERT INTO taskq_workers (name, host) VALUES ('night shift', 'one')")
    assert "night shift" in client.get("/admin/taskq/worker/").content.decode()


def test_models_are_only_read() -> None:
    job_id = tasks.pay.defer(order_id=1)
    job = Job.objects.get(pk=job_id)
    assert (job.task_name, job.queue_name, job.status) == (tasks.pay.name, "mail", "todo")
    with pytest.raises(NotSupportedError, match="is only read"):
        job.save()
    with pytest.raises(NotSupportedError, match="is only read"):
        job.delete()
    assert not Worker.objects.exists()
