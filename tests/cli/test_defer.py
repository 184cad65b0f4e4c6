"""The command that defers a job."""

from datetime import UTC, datetime, timedelta

import pytest

from taskq import JobManager
from tests.cli.conftest import SHOP, Taskq, ended

DEFER = ("defer", "--app", SHOP)


def test_it_prints_the_id_of_the_job(manager: JobManager) -> None:
    done = ended(*DEFER, "add", '{"a": 1}')
    assert (done.returncode, done.stderr) == (0, "")
    job = manager.get_job(int(done.stdout))
    assert (job.task_name, job.task_kwargs) == ("add", {"a": 1})


def test_each_option_is_the_jobs(taskq: Taskq, manager: JobManager) -> None:
    options = ["--queue", "q", "--lock", "l", "--queueing-lock", "ql", "--priority", "-7"]
    done = taskq(*DEFER, "add", '{"a": 1}', *options, "--at", "2100-01-31T18:00:00+01:00")
    job = manager.get_job(int(done.stdout))
    assert (job.queue, job.lock, job.queueing_lock, job.priority) == ("q", "l", "ql", -7)
    assert job.scheduled_at == datetime(2100, 1, 31, 17, tzinfo=UTC)


def test_the_key_of_a_limit_is_that_of_the_arguments_or_the_one_that_is_said(
    taskq: Taskq, manager: JobManager
) -> None:
    sync = (*DEFER, "sync", '{"account": "acme"}')
    ids = [int(taskq(*sync, *more).stdout) for more in ((), ("--limit-key", "vip"))]
    assert [manager.get_job(id_).limit_key for id_ in ids] == ["tenant:acme", "tenant:vip"]


def test_in_counts_from_now(taskq: Taskq, manager: JobManager) -> None:
    job = manager.get_job(int(taskq(*DEFER, "add", '{"a": 1}', "--in", "1h30m").stdout))
    assert job.scheduled_at
    assert job.scheduled_at - job.deferred_at == pytest.approx(
        timedelta(hours=1.5), abs=timedelta(seconds=30)
    )


def test_a_task_of_another_program_is_taken_if_that_is_said(
    taskq: Taskq, manager: JobManager
) -> None:
    done = taskq(*DEFER, "ship", '{"to": ["Ada"]}', "--unknown")
    assert manager.get_job(int(done.stdout)).task_kwargs == {"to": ["Ada"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ad", '{"a": 1}'], "did you mean 'add'?"),
        (["ad", '{"a": 1}'], "--unknown"),
        (["add"], "argument 'a' is missing"),
        (["add", '{"a": "one"}'], "argument 'a' got 'one'"),
        (["add", '{"a": 1, "c": 2}'], "argument 'c' is unknown"),
        (["add", '{"a": 1'], "is not JSON"),
        (["add", '{"a": NaN}'], "JSON has no NaN"),
        (["add", "[" * 100_000], "is not JSON"),
        (["add", "[1]"], "is not a JSON object"),
        (["ship", r'{"to": "\ud800"}', "--unknown"], "lone surrogate"),
        (["ship", r'{"to": "\u0000"}', "--unknown"], "NUL"),
        (["add", '{"a": 1}', "--priority", "high"], "'high' is not a valid integer"),
        (["add", '{"a": 1}', "--priority", "9999999999"], "priority=9999999999"),
        (["add", '{"a": 1}', "--queue", ""], "queue"),
        (["add", '{"a": 1}', "--idempotency-key", ""], "idempotency_key=''"),
        (["add", '{"a": 1}', "--limit-key", "k"], "limit_key='k' and has no limit"),
        (["sync", '{"account": "a"}', "--limit-key", "k" * 494], "is too long"),
        (["add", '{"a": 1}', "--at", "tomorrow"], "'tomorrow' is no time"),
        (["add", '{"a": 1}', "--at", "2100-01-31T18:00:00"], "in which time zone"),
        (["add", '{"a": 1}', "--in", "soon"], "'soon' is no length of time"),
        (["add", '{"a": 1}', "--in", "1s", "--at", "2100-01-31T18:00Z"], "give one of them"),
        (
            ["add", '{"a": 1}', "--expire-in", "1s", "--expire-at", "2100-01-31T18:00Z"],
            "give one of them",
        ),
        (["add", '{"a": 1}', "--expire-in", "0"], "leaves no time to begin"),
        (
            ["add", '{"a": 1}', "--replace"],
            "no queueing_lock, by which the job that waits is found",
        ),
        (["add", '{"a": 1}', "--replace", "--ignore-already-enqueued"], "give one of them"),
    ],
)
def test_what_no_job_can_have_is_refused_and_nothing_is_written(
    taskq: Taskq, manager: JobManager, arguments: list[str], said: str
) -> None:
    done = taskq(*DEFER, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert said in line
    assert manager.count_jobs() == {}


def test_a_queueing_lock_that_is_taken_is_a_failure(taskq: Taskq, manager: JobManager) -> None:
    job_id = taskq(*DEFER, "add", '{"a": 1}', "--queueing-lock", "l").stdout.strip()
    done = taskq(*DEFER, "add", '{"a": 2}', "--queueing-lock", "l")
    assert done.exit_code == 1
    assert f"job {job_id} with the queueing lock 'l' waits already" in done.stderr
    assert sum(manager.count_jobs().values()) == 1


def test_a_queueing_lock_that_is_taken_may_be_ignored(taskq: Taskq, manager: JobManager) -> None:
    options = ("--queueing-lock", "l", "--ignore-already-enqueued")
    assert taskq(*DEFER, "add", '{"a": 1}', *options).stdout == "1\n"
    done = taskq(*DEFER, "add", '{"a": 2}', *options)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "nothing deferred: a job with its queueing lock waits already\n"
    assert sum(manager.count_jobs().values()) == 1


def test_a_job_that_waits_with_the_queueing_lock_may_be_replaced(
    taskq: Taskq, manager: JobManager
) -> None:
    options = ("--queueing-lock", "l", "--replace")
    assert taskq(*DEFER, "add", '{"a": 1}', *options).stdout == "1\n"
    assert taskq(*DEFER, "add", '{"a": 2}', *options, "--in", "1h").stdout == "1\n"
    assert manager.get_job(1).task_kwargs == {"a": 2}


def test_a_job_may_be_for_a_while(taskq: Taskq, manager: JobManager) -> None:
    taskq(*DEFER, "add", '{"a": 1}', "--expire-in", "1h")
    taskq(*DEFER, "add", '{"a": 1}', "--expire-at", "2100-01-31T18:00+01:00")
    [soon, at] = [job.expires_at and job.expires_at.year for job in manager.list_jobs()]
    assert soon != at == 2100


def test_the_same_idempotency_key_prints_the_same_id(taskq: Taskq, manager: JobManager) -> None:
    options = ("--idempotency-key", "sum:1")
    assert taskq(*DEFER, "add", '{"a": 1}', *options).stdout == "1\n"
    assert taskq(*DEFER, "add", '{"a": 2}', *options).stdout == "1\n"
    assert manager.get_job(1).task_kwargs == {"a": 1}
    shown = taskq("jobs", "show", "1").stdout.splitlines()
    assert ["idempotency", "key", "sum:1"] in [line.split() for line in shown]


def test_on_a_database_without_the_schema_it_says_what_to_do(taskq: Taskq, bare_url: str) -> None:
    done = taskq(*DEFER, "add", '{"a": 1}', env={"TASKQ_DATABASE_URL": bare_url})
    assert done.exit_code == 1
    assert "python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1
