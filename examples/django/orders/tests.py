"""The tests of the shop: ``python manage.py test``."""

from django.contrib.auth.models import User
from django.test import TestCase, TransactionTestCase

from orders.models import Order
from orders.tasks import add_to_report, pay, write_receipt
from taskq import JobStatus
from taskq.contrib.django import app, get_app


class TakingOrders(TestCase):
    """In a transaction that is rolled back, jobs are deferred and seen, and no worker is needed."""

    def test_an_order_defers_its_payment(self) -> None:
        """What is deferred is read on the test's own connection."""
        answer = self.client.post("/orders/", {"email": "ada@example.org"})
        self.assertEqual(answer.status_code, 201)
        job = app.job_manager.get_job(answer.json()["job"])
        self.assertEqual(job.task_name, pay.name)
        self.assertEqual(job.task_kwargs, {"order_id": answer.json()["order"]})

    def test_an_order_that_is_refused_leaves_no_job(self) -> None:
        """The view rolls back its block."""
        self.client.post("/orders/", {"email": "eve@example.com"})
        self.assertFalse(Order.objects.exists())
        self.assertEqual(len(app.job_manager.list_jobs()), 0)

    def test_a_task_is_a_function(self) -> None:
        """It is called without a job."""
        order = Order.objects.create(email="ada@example.org")
        pay(order_id=order.pk)
        order.refresh_from_db()
        self.assertTrue(order.paid)

    def test_operators_cancel_jobs_in_the_admin(self) -> None:
        """By the actions of the list."""
        self.client.force_login(User.objects.create_superuser("operator"))
        job_id = pay.defer(order_id=1)
        self.assertContains(self.client.get("/admin/taskq/job/"), pay.name)
        self.client.post("/admin/taskq/job/", {"action": "cancel", "_selected_action": [job_id]})
        self.assertEqual(app.job_manager.get_job_status(job_id), JobStatus.CANCELLED)


class RunningJobs(TransactionTestCase):
    """What is committed, a worker runs: until nothing is left."""

    databases = ("default", "reports")

    def setUp(self) -> None:
        """Django empties the tables of its models, and no others."""
        for jobs in (app.job_manager, get_app("reports").job_manager):
            jobs.delete_jobs(status=set(JobStatus) - {JobStatus.DOING})

    def test_an_order_is_paid_and_has_a_receipt(self) -> None:
        """By a task that enqueues another one."""
        answer = self.client.post("/orders/", {"email": "ada@example.org"})
        app.run_worker(wait=False)
        order = self.client.get(f"/orders/{answer.json()['order']}/").json()
        self.assertEqual(order, {"paid": True, "receipt": "Thank you, ada@example.org"})
        [job] = app.job_manager.list_jobs(queue="mail")
        result = write_receipt.get_result(str(job.id))
        self.assertEqual(result.return_value, "Thank you, ada@example.org")

    def test_reports_have_jobs_and_workers_of_their_own(self) -> None:
        """In the other database."""
        result = add_to_report.enqueue(17)
        app.run_worker(wait=False)
        result.refresh()
        self.assertEqual(result.status, "READY")
        get_app("reports").run_worker(wait=False)
        result.refresh()
        self.assertEqual(result.return_value, 17)
