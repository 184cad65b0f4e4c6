"""The pages for those who come from elsewhere leave out nothing that is common there."""

import argparse
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import arq
import arq.connections
import arq.jobs
import celery.app.control
import celery.app.task
import celery.bin.worker
import celery.canvas
import celery.result
import celery.signals
import click
import django_tasks
import django_tasks.base
import django_tasks.signals
import dramatiq
import dramatiq.cli
import dramatiq.middleware
import dramatiq.rate_limits
import dramatiq.results
import pytest
import rq
from rq.cli.cli import main as rq_program

DOCS = Path(__file__).parents[1] / "docs"

# Public by their names, and no concern of who writes tasks and runs workers.
INTERNAL = {
    "celery": {
        *("OperationalError", "Request", "from_config", "on_bound", "on_replace", "pop_request"),
        *(
            "push_request",
            "request_stack",
            "shadow_name",
            "signature_from_request",
            "start_strategy",
        ),
        *(
            "subtask_from_request",
            "app",
            "add_trail",
            "expires",
            "TimeoutError",
            "as_list",
            "as_tuple",
        ),
        *(
            "build_graph",
            "exists",
            "graph",
            "id",
            "ignored",
            "iterdeps",
            "revoke_by_stamped_headers",
        ),
        *("supports_native_join", "task_id", "Mailbox", "broadcast", "election", "enable_events"),
        *("disable_events", "pool_grow", "pool_restart", "pool_shrink", "time_limit", "autoscale"),
        *("heartbeat", "after_setup_task_logger"),
        # What is Celery's own machinery among the options, or the operating system's.
        *(
            "--discard",
            "--events",
            "--executable",
            "--gid",
            "--uid",
            "--umask",
            "--heartbeat-interval",
        ),
        *("--logfile", "--loglevel", "--optimization", "--purge", "--statedb", "--without-gossip"),
        *("--without-heartbeat", "--without-mingle", "--schedule-filename"),
    },
    "rq": {
        "queues",
        *("--config", "--connection-class", "--date-format", "--disable-default-exception-handler"),
        *(
            "--disable-job-desc-logging",
            "--job-monitoring-interval",
            "--log-format",
            "--logging_level",
        ),
        *("--maintenance-interval", "--path", "--pid", "--quiet", "--results-ttl", "--verbose"),
        *("--worker-ttl",),
        # Of an enqueued function: its name, and what it takes.
        *("self", "func", "args", "kwargs"),
    },
    "arq": {
        *("self", "VERSION", "functions", "coroutine", "function", "args", "kwargs", "redis_pool"),
        *("health_check_key", "expires_extra_ms", "ctx", "job_id"),
    },
    "dramatiq": {
        *(
            "DramatiqError",
            "BrokerError",
            "DecodeError",
            "QueueNotFound",
            "QueueJoinTimeout",
            "Consumer",
        ),
        *(
            "BrokerConnectionError",
            "ConnectionClosed",
            "ConnectionFailed",
            "get_logger",
            "get_encoder",
        ),
        *("MessageProxy", "Worker", "ConsumerThread", "WorkerThread", "MiddlewareError", "Missing"),
        *(
            "raise_thread_exception",
            "RateLimiter",
            "RateLimiterBackend",
            "ResultError",
            "fn",
            "options",
        ),
        *("--help", "--version"),
    },
    "django_tasks": {"DEFAULT_TASK_BACKEND_ALIAS", "DEFAULT_TASK_QUEUE_NAME"},
}


def members(kind: type) -> Iterator[str]:
    return (name for name in vars(kind) if not name.startswith("_"))


def parameters(function: object) -> Iterator[str]:
    assert callable(function)
    return iter(inspect.signature(function).parameters)


def long_options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        yield from (option for option in parameter.opts if option.startswith("--"))


def of_celery() -> Iterator[str]:
    yield from members(celery.app.task.Task)
    yield from members(celery.result.AsyncResult)
    yield from ("chain", "group", "chord", "chunks", "signature", "shared_task", "crontab")
    yield from (
        "countdown",
        "eta",
        "expires",
        "link",
        "link_error",
        "queue",
        "routing_key",
        "task_id",
    )
    yield from (
        "autoretry_for",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "retry_kwargs",
    )
    yield from celery.signals.__all__
    yield from members(celery.app.control.Control)
    yield from long_options(celery.bin.worker.worker)


def of_rq() -> Iterator[str]:
    yield from rq.__all__
    yield from parameters(rq.Queue.enqueue_call)
    yield from (
        name for name in members(rq.Queue) if name.startswith("enqueue_") and "ready" not in name
    )
    yield from (
        name for name in members(rq.job.Job) if name.startswith("is_") and "_to_" not in name
    )
    yield from (
        "return_value",
        "result",
        "latest_result",
        "cancel",
        "requeue",
        "delete",
        "exc_info",
    )
    yield from (*rq_program.commands, *long_options(rq_program.commands["worker"]))


def of_arq() -> Iterator[str]:
    yield from arq.__all__
    for function in (arq.connections.ArqRedis.enqueue_job, arq.func, arq.cron, arq.Worker.__init__):
        yield from parameters(function)
    yield from members(arq.jobs.Job)
    yield from ("queued_jobs", "all_job_results", "job_try", "enqueue_time")


def of_dramatiq() -> Iterator[str]:
    for module in (dramatiq, dramatiq.middleware, dramatiq.rate_limits, dramatiq.results):
        yield from module.__all__
    yield from members(dramatiq.Actor)
    yield from parameters(dramatiq.actor)
    for kind in dramatiq.middleware.__dict__.values():
        if isinstance(kind, type) and issubclass(kind, dramatiq.Middleware):
            # A constant, and some of them are made with a backend only.
            yield from inspect.getattr_static(kind, "actor_options").fget(None)
    for action in dramatiq.cli.make_argument_parser()._actions:  # type: ignore[no-untyped-call]
        assert isinstance(action, argparse.Action)
        yield from (option for option in action.option_strings if option.startswith("--"))


def of_django_tasks() -> Iterator[str]:
    yield from django_tasks.__all__
    yield from members(django_tasks.base.Task)
    yield from members(django_tasks.base.TaskResult)
    yield from ("task_enqueued", "task_started", "task_finished")
    yield from ("ImmediateBackend", "DummyBackend", "DatabaseBackend", "db_worker")


@pytest.mark.parametrize(
    ("page", "project", "names"),
    [
        ("celery", "celery", of_celery),
        ("rq-and-arq", "rq", of_rq),
        ("rq-and-arq", "arq", of_arq),
        ("dramatiq", "dramatiq", of_dramatiq),
        ("django-tasks", "django_tasks", of_django_tasks),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_that_is_common_is_left_out(page: str, project: str, names: object) -> None:
    assert callable(names)
    told = re.findall(r"`([^`\n]+)`", (DOCS / f"coming-from-{page}.md").read_text())
    found = set(names()) - INTERNAL[project]
    assert len(found) > 20

    def is_told(name: str) -> bool:
        return any(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", code) for code in told)

    assert {name for name in found if not is_told(name)} == set()


@pytest.mark.parametrize("page", sorted(DOCS.glob("coming-from-*.md")), ids=lambda page: page.stem)
def test_each_row_says_what_became_of_it(page: Path) -> None:
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    rows = [line.split(" | ") for line in lines if not line.endswith("| in taskq |")]
    assert len(rows) > 20
    for row in rows:
        assert row[1] in {"there", "same", "better", "otherwise", "not there"}, row
