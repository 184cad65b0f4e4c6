"""Django's own test cases, each of which runs in a transaction of Django's connection."""

from pathlib import Path

import pytest

from tests.walk import files

pytest.importorskip("django")

SHOP = """
from django.contrib.auth.models import Group
from taskq import App

app = App("postgresql://nobody@nowhere/none")


@app.task
def name_group(name: str) -> None:
    Group.objects.create(name=name)


@app.task
async def name_group_async(name: str) -> None:
    await Group.objects.acreate(name=f"{name} async")
    await name_group.defer_async(name=f"{name} again")
"""
CONFTEST = """
import django
from django.conf import settings
from django.core.management import call_command

from taskq.database.database import Database


def pytest_configure(config):
    named = Database.resolve(config.getoption("taskq_database_url")).libpq_parameters()
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": named["dbname"],
                "HOST": named["host"],
                "PORT": named["port"],
                "USER": named["user"],
                "PASSWORD": named.get("password", ""),
            }
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
"""
TESTS = """
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase

from shop import app, name_group, name_group_async
from taskq.pytest import jobs_on


class Naming(TestCase):
    def setUp(self):
        self.jobs = self.enterContext(jobs_on(app, connection))

    def test_a_task_sees_what_the_test_wrote_and_the_other_way_round(self):
        Group.objects.create(name="ours")
        name_group.defer(name="theirs")
        assert self.jobs.drain() == {"succeeded": 1}
        assert set(Group.objects.values_list("name", flat=True)) == {"ours", "theirs"}

    def test_what_is_rolled_back_is_not_deferred(self):
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            name_group.defer(name="never")
            1 / 0
        self.jobs.assert_not_deferred(name_group)

    def test_a_failure_is_that_of_the_job_alone(self):
        Group.objects.create(name="twice")
        ran = self.jobs.run(name_group, name="once")
        assert ran.status == "succeeded"
        with transaction.atomic():
            assert Group.objects.count() == 2

    def test_async_tasks_are_on_the_connection_of_the_test(self):
        name_group_async.defer(name="ours")
        assert self.jobs.drain() == {"succeeded": 2}
        assert set(Group.objects.values_list("name", flat=True)) == {"ours async", "ours again"}

    async def test_so_are_async_tests_in_the_thread_of_the_test(self):
        await sync_to_async(name_group.defer)(name="ours")
        assert await sync_to_async(self.jobs.drain)() == {"succeeded": 1}
        assert await Group.objects.acount() == 1


class Afterwards(TestCase):
    def test_nothing_is_left(self):
        assert Group.objects.count() == 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM taskq_jobs")
            assert cursor.fetchone() == (0,)
"""


def test_jobs_run_in_the_transaction_of_a_test_case(
    pytester: pytest.Pytester, taskq_database_url: str
) -> None:
    page = files(Path(__file__).parents[2] / "docs" / "testing.md")
    pytester.makepyfile(shop=SHOP, test_naming=TESTS, test_groups=page["test_groups.py"])
    pytester.makeconftest(CONFTEST)
    pytester.makeini(
        "[pytest]\npythonpath = .\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    )
    run = pytester.runpytest_subprocess(f"--taskq-database-url={taskq_database_url}")
    run.assert_outcomes(passed=7)
