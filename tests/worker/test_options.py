"""What a worker can be told, from where, and what it refuses."""

from datetime import timedelta

import pytest

from taskq import App, JobStatus
from taskq.cli.worker import worker
from taskq.exceptions import InvalidOption
from taskq.worker.options import WorkerArguments, WorkerOptions
from tests.worker.conftest import ROOT


def test_a_call_wins_over_the_environment_and_that_over_the_defaults() -> None:
    options = WorkerOptions.of(
        {"concurrency": 3},
        defaults={"concurrency": 1, "name": "default", "queues": ["default"]},
        environ={"TASKQ_WORKER_CONCURRENCY": "2", "TASKQ_WORKER_NAME": "environment"},
    )
    assert (options.concurrency, options.name, options.queues) == (3, "environment", ["default"])


def test_the_defaults_are_those_of_procrastinate() -> None:
    options = WorkerOptions.of({}, environ={})
    assert options.model_dump() == {
        "queues": None,
        "name": "worker",
        "concurrency": 1,
        "wait": True,
        "fetch_job_polling_interval": 5.0,
        "abort_job_polling_interval": 5.0,
        "shutdown_graceful_timeout": None,
        "listen_notify": True,
        "listen_database": None,
        "delete_jobs": "never",
        "additional_context": None,
        "install_signal_handlers": True,
        "update_heartbeat_interval": 10,
        "stalled_worker_timeout": 30,
        "blocked_loop_timeout": 300,
        "unknown_job_timeout": 300,
        "max_crashes": 3,
        "max_transactions": 10,
        "max_jobs": None,
        "max_seconds": None,
        "max_task_processes": None,
        "loop": "auto",
        "http": None,
        "prefetch": "auto",
        "retention": None,
        "task_middleware": None,
        "worker_middleware": None,
    }


@pytest.mark.parametrize("said", ["false", "0", "no", "off"])
def test_a_false_value_in_the_environment_counts(said: str) -> None:
    options = WorkerOptions.of({}, defaults={"wait": True}, environ={"TASKQ_WORKER_WAIT": said})
    assert options.wait is False


# Each option that a line of text can say: how, and what it means.
SAID = {
    "queues": ("mail, reports", ["mail", "reports"]),
    "name": ("ada", "ada"),
    "concurrency": ("7", 7),
    "wait": ("false", False),
    "fetch_job_polling_interval": ("1.5", 1.5),
    "abort_job_polling_interval": ("2.5", 2.5),
    "shutdown_graceful_timeout": ("0", 0.0),
    "listen_notify": ("0", False),
    "listen_database": ("postgresql://direct/shop", "postgresql://direct/shop"),
    "delete_jobs": ("successful", "successful"),
    "install_signal_handlers": ("no", False),
    "update_heartbeat_interval": ("3", 3.0),
    "stalled_worker_timeout": ("12", 12.0),
    "blocked_loop_timeout": ("60", 60.0),
    "unknown_job_timeout": ("0", 0.0),
    "max_crashes": ("5", 5),
    "max_transactions": ("4", 4),
    "max_jobs": ("100", 100),
    "max_seconds": ("3600", 3600.0),
    "max_task_processes": ("2", 2),
    "loop": ("asyncio", "asyncio"),
    "http": ("[::1]:9090", ("::1", 9090)),
    "prefetch": ("0", 0),
    "retention": ("succeeded=1d", {JobStatus.SUCCEEDED: timedelta(days=1)}),
}


def test_the_environment_can_say_every_option_but_those_that_are_code() -> None:
    environ = {f"TASKQ_WORKER_{name.upper()}": said for name, (said, _) in SAID.items()}
    options = WorkerOptions.of({}, environ=environ)
    in_code_only = {"additional_context", "task_middleware", "worker_middleware"}
    assert options.model_dump(exclude=in_code_only) == {
        name: value for name, (_, value) in SAID.items()
    }


def test_the_command_line_can_say_every_option_but_those_that_are_code() -> None:
    line = []
    for name, (said, value) in SAID.items():
        flag = name.replace("_", "-")
        line += [f"--no-{flag}"] if value is False else [f"--{flag}", said]
    with worker.make_context("worker", line) as context:
        given = {name: value for name, value in context.params.items() if value is not None}
    options = WorkerOptions.of(given, environ={})
    assert {name: getattr(options, name) for name in SAID} == {
        name: value for name, (_, value) in SAID.items()
    }


def test_the_docs_name_every_option() -> None:
    page = (ROOT / "docs" / "worker.md").read_text()
    assert [name for name in WorkerOptions.model_fields if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("option", "false", "said"),
    [("prefetch", 0, "20"), ("wait", False, "true"), ("queues", None, "mail")],
)
def test_a_calls_own_value_wins_also_if_it_is_false(option: str, false: object, said: str) -> None:
    variable = f"TASKQ_WORKER_{option.upper()}"
    options = WorkerOptions.of({option: false}, environ={variable: said})
    assert getattr(options, option) == false


@pytest.mark.parametrize(
    ("variable", "said", "option", "value"),
    [
        ("QUEUES", "mail, reports", "queues", ["mail", "reports"]),
        ("SHUTDOWN_GRACEFUL_TIMEOUT", "0", "shutdown_graceful_timeout", 0),
        ("SHUTDOWN_GRACEFUL_TIMEOUT", "", "shutdown_graceful_timeout", None),
        ("PREFETCH", "20", "prefetch", 20),
        ("PREFETCH", "auto", "prefetch", "auto"),
    ],
)
def test_the_environment_can_say_it(variable: str, said: str, option: str, value: object) -> None:
    options = WorkerOptions.of({}, environ={f"TASKQ_WORKER_{variable}": said})
    assert getattr(options, option) == value


@pytest.mark.parametrize(
    ("given", "explained"),
    [
        ({"concurrency": 0}, "concurrency=0"),
        ({"concurrency": "many"}, "concurrency='many'"),
        ({"queues": []}, r"queues=\[\]"),
        ({"queues": ["mail", ""]}, "queues="),
        ({"name": "x" * 501}, "name="),
        ({"fetch_job_polling_interval": 0}, "fetch_job_polling_interval=0"),
        ({"fetch_job_polling_interval": float("nan")}, "fetch_job_polling_interval=nan"),
        ({"delete_jobs": "sometimes"}, "delete_jobs='sometimes'"),
        ({"prefetch": -1}, "prefetch=-1"),
        ({"concurency": 3}, "no option 'concurency'"),
        (
            {"update_heartbeat_interval": 30, "stalled_worker_timeout": 30},
            "update_heartbeat_interval=30.0 must be less than stalled_worker_timeout=30.0",
        ),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_its_name(
    given: dict[str, object], explained: str
) -> None:
    with pytest.raises(InvalidOption, match=explained):
        WorkerOptions.of(given, environ={})


def test_a_wrong_value_in_the_environment_is_refused_with_the_name_of_its_variable() -> None:
    with pytest.raises(InvalidOption, match="TASKQ_WORKER_CONCURRENCY='many'"):
        WorkerOptions.of({}, environ={"TASKQ_WORKER_CONCURRENCY": "many"})


def test_wrong_defaults_are_refused_when_the_app_is_made() -> None:
    with pytest.raises(InvalidOption, match="concurrency=-1"):
        App("postgresql://", worker_defaults={"concurrency": -1})


def test_type_checkers_know_every_option() -> None:
    assert WorkerArguments.__annotations__.keys() == WorkerOptions.model_fields.keys()
