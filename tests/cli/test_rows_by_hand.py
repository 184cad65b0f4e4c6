"""Commands that list show every row, and say of one that was spoilt by hand what cannot be read of it."""

import json

import psycopg
import pytest

from taskq import JobManager
from taskq.job import NewJob
from tests.cli.conftest import SHOP, Taskq
from tests.conftest import Spoil

SPOILT = [
    ("args", '{"n": 1e5000}', "task_kwargs"),
    ("result", "[" * 250 + "]" * 250, "result"),
    ("metadata", "[1]", "metadata"),
    ("deferred_at", "infinity", "deferred_at"),
    ("started_at", "0044-03-15 12:00:00 BC", "started_at"),
    ("finished_at", "-infinity", "finished_at"),
    ("scheduled_at", "20000-01-01", "scheduled_at"),
]


@pytest.mark.parametrize("status", ["todo", "doing", "failed"])
@pytest.mark.parametrize(("column", "value", "attribute"), SPOILT)
def test_a_job_is_listed_and_shown_beside_others(
    taskq: Taskq,
    manager: JobManager,
    spoil: Spoil,
    status: str,
    column: str,
    value: str,
    attribute: str,
) -> None:
    jobs = [NewJob(task_name="add", args={"a": 1}) for _ in range(2)]
    spoilt, fine = (id_ or 0 for id_ in manager.defer_jobs(jobs))
    spoil(spoilt, status=status, **{column: value})
    for command in (
        ["jobs", "list"],
        ["jobs", "show", str(spoilt)],
        ["watch", "--once", "--interval", "0.1"],
    ):
        said = taskq(*command)
        assert (said.exit_code, said.stderr) == (0, ""), command
    shown = " ".join(taskq("jobs", "show", str(spoilt)).stdout.split())
    assert "unreadable: " in shown
    assert value[:15] in shown or column == "args"
    said = json.loads(taskq("jobs", "list", "--json").stdout)
    assert [job["id"] for job in said] == [spoilt, fine]
    assert said[1]["task_kwargs"] == {"a": 1}
    alone = json.loads(taskq("jobs", "show", str(spoilt), "--json").stdout)
    for record in (said[0], alone):
        assert record[attribute].keys() == {"unreadable", "reason"}


def test_workers_and_what_surrounds_jobs_are_shown_whatever_the_times(
    taskq: Taskq, manager: JobManager, connection: psycopg.Connection, unchecked: None
) -> None:
    [job_id] = manager.defer_jobs([NewJob(task_name="add", args={})])
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, failed_at, error_type, error_message, error_traceback) "
        "VALUES (%s, 1, 1, 1, 'infinity', 'taskq.exceptions.TaskNotFound', 'm', 't')",
        [job_id],
    )
    connection.execute(
        "INSERT INTO taskq_workers (name, queue_names, started_at, last_heartbeat) VALUES "
        "('far', NULL, 'infinity', 'infinity'), ('long ago', '{}', '-infinity', '-infinity'), "
        "('odd', '{{a,b},{c,NULL}}', now(), now())"
    )
    connection.execute(
        "INSERT INTO taskq_periodic (task_name, periodic_id, last_tick) "
        "VALUES ('tests.cli.shop.nightly', '', 9223372036854775807)"
    )
    for command in (
        ["jobs", "show", str(job_id)],
        ["jobs", "show", str(job_id), "--json"],
        ["workers", "list"],
        ["workers", "list", "--json"],
        ["queues", "list"],
        ["queues", "list", "--json"],
        ["locks", "list"],
        ["tasks", "list", "--app", SHOP],
        ["periodic", "list", "--app", SHOP],
        ["watch", "--once", "--interval", "0.1"],
        ["healthcheck"],
    ):
        said = taskq(*command)
        assert (said.exit_code, said.stderr) == (0, ""), command
    for command in (["doctor"], ["doctor", "--json"]):
        said = taskq(*command)
        assert said.stderr == "", command
