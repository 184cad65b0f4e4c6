"""The command that runs jobs."""

import os
import select
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from taskq import App, JobManager, JobStatus
from taskq.cli.worker import worker
from taskq.worker.options import WorkerOptions
from tests.cli.conftest import SHOP, Taskq, ended, process

# What only code can give.
IN_CODE_ONLY = {"additional_context", "task_middleware", "worker_middleware"}


def until(stream: IO[str] | None, said: str) -> None:
    """Read what a process says until it says something."""
    assert stream
    assert any(said in line for line in stream), f"it ended without saying {said!r}"


def deferred(task: str, **arguments: str) -> int:
    """Defer a job of a task of the shop."""
    with App() as app:
        job_id: int = app.configure_task(task).defer(**arguments)
        return job_id


class Hold:
    """A job that says when it has started, and ends when it is told to."""

    def __init__(self, folder: Path) -> None:
        paths = {name: str(folder / name) for name in ("started", "go")}
        for path in paths.values():
            os.mkfifo(path)
        # Both ways, which does not block: a worker that dies must not leave its test waiting.
        self._started, self._go = (os.open(path, os.O_RDWR) for path in paths.values())
        self.job_id = deferred("hold", **paths)

    def wait_until_started(self) -> None:
        ready, _, _ = select.select([self._started], [], [], 20)
        assert ready, "the job has not started"

    def let_go(self) -> None:
        os.write(self._go, b"go\n")

    def close(self) -> None:
        os.close(self._started)
        os.close(self._go)


@pytest.fixture
def hold(tmp_path: Path, environment: None) -> Iterator[Hold]:
    hold = Hold(tmp_path)
    yield hold
    hold.close()


def test_every_option_of_a_worker_can_be_said_on_the_command_line() -> None:
    assert {parameter.name for parameter in worker.params} - {"app", "verbose", "processes"} == (
        WorkerOptions.model_fields.keys() - IN_CODE_ONLY
    )


@pytest.mark.parametrize(
    ("option", "variable", "name"),
    [
        (["--name", "by option"], "by variable", "by option"),
        ([], "by variable", "by variable"),
        ([], None, "by default"),
    ],
)
def test_an_option_wins_over_its_variable_and_that_over_the_apps_default(
    taskq: Taskq, manager: JobManager, option: list[str], variable: str | None, name: str
) -> None:
    job_id = int(taskq("defer", "--app", SHOP, "who").stdout)
    done = taskq(
        *("worker", "--app", SHOP, "--no-wait", *option),
        env={"TASKQ_WORKER_NAME": variable} if variable else {},
    )
    assert done.exit_code == 0
    assert manager.get_job(job_id).result == name


def test_it_serves_the_queues_that_it_is_given(taskq: Taskq, manager: JobManager) -> None:
    ids = [int(taskq("defer", "--app", SHOP, "who", "--queue", queue).stdout) for queue in "abc"]
    assert taskq("worker", "--app", SHOP, "--no-wait", "--queues", "a, c").exit_code == 0
    statuses = [manager.get_job_status(job_id) for job_id in ids]
    assert statuses == [JobStatus.SUCCEEDED, JobStatus.TODO, JobStatus.SUCCEEDED]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--concurrency", "0"),
        ("--concurrency", "many"),
        ("--processes", "0"),
        ("--processes", "some"),
        ("--queues", ""),
        ("--delete-jobs", "sometimes"),
        ("--prefetch", "-1"),
        ("--retention", "succeeded=soon"),
        ("--retention", "todo=1d"),
        ("--fetch-job-polling-interval", "nan"),
        ("--stalled-worker-timeout", "1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(taskq: Taskq, option: str, value: str) -> None:
    done = taskq("worker", "--app", SHOP, "--no-wait", option, value)
    assert done.exit_code == 2
    assert option.removeprefix("--").replace("-", "_") in done.stderr
    assert done.stderr.count("\n") == 1


def test_on_a_database_without_the_schema_it_says_what_to_do(taskq: Taskq, bare_url: str) -> None:
    done = taskq("worker", "--app", SHOP, env={"TASKQ_DATABASE_URL": bare_url})
    assert done.exit_code == 1
    assert "python -m taskq schema apply" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_told_to_stop_it_finishes_what_runs(
    manager: JobManager, hold: Hold, number: signal.Signals
) -> None:
    with process("worker", "--app", SHOP) as running:
        hold.wait_until_started()
        running.send_signal(number)
        until(running.stderr, "stops")
        hold.let_go()
        assert running.wait(20) == 0
    assert manager.get_job_status(hold.job_id) is JobStatus.SUCCEEDED


def test_told_twice_it_leaves_a_sync_task_behind_and_its_job_goes_back(
    manager: JobManager, hold: Hold
) -> None:
    with process("worker", "--app", SHOP) as running:
        hold.wait_until_started()
        running.send_signal(signal.SIGINT)
        until(running.stderr, "stops")
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
        assert running.stderr
        assert "Traceback" not in running.stderr.read()
    assert manager.get_job_status(hold.job_id) is JobStatus.TODO


def test_a_value_in_a_log_message_or_an_error_forges_no_line() -> None:
    forged = "x\n2030-01-01 00:00:00,000 INFO taskq: all is well\x1b[2K\u2028y"
    deferred("shout", text=forged)
    with process("worker", "--app", SHOP, "--no-wait") as running:
        _, logged = running.communicate(timeout=20)
    assert running.returncode == 0
    assert r"WARNING shop: heard x\n2030-01-01 00:00:00,000 INFO taskq: all is well\x1b" in logged
    assert "    ValueError: x\n" in logged
    assert [line for line in logged.splitlines() if line.startswith("2030")] == []
    assert "\x1b" not in logged


def test_v_shows_debug_logs() -> None:
    for verbose in ([], ["-v"]):
        deferred("shout", text="x")
        done = ended("worker", "--app", SHOP, "--no-wait", *verbose)
        assert done.returncode == 0
        assert (" DEBUG shop: hears\n" in done.stderr) is bool(verbose)
