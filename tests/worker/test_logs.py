"""What a worker's log records carry, for those who read them by machine."""

import ast
import asyncio
import json
import logging
import re
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from taskq import App, JobAborted, Retry, Snooze
from tests.worker.conftest import ROOT, Drain

LEVELS = {"debug", "info", "warning", "error", "critical", "log"}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Each call in the engine that writes a log record, where it is, and its level."""
    worker = ROOT / "taskq" / "worker"
    for path in sorted(worker.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=level)):
                    if level in LEVELS and (name == "logger" or name.isupper()):
                        yield f"{path.relative_to(worker)}:{node.lineno}", level, node


def action(call: ast.Call) -> str | None:
    """The ``action`` of a call, as it is written there."""
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    return None if extra is None else action_in(extra)


def action_in(extra: ast.expr) -> str | None:
    """That of what is passed as ``extra``: in a dictionary, or the first argument of what makes one."""
    match extra:
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                match key, value:
                    case ast.Constant(value="action"), ast.Constant(value=str(name)):
                        return name
                    case None, ast.Call():
                        return action_in(value)
        case ast.Call(args=[ast.Constant(value=str(name)), *_]):
            return name
    return None


def test_each_record_has_an_action_that_the_docs_name() -> None:
    page = (ROOT / "docs" / "worker.md").read_text()
    found = {place: action(call) for place, _, call in calls()}
    assert len(found) > 15, "the pattern no longer finds them"
    assert [place for place, name in found.items() if name is None] == []
    assert [name for name in set(found.values()) if f"`{name}`" not in page] == []


def test_what_happens_is_an_event_before_it_is_logged() -> None:
    """All but what is for DEBUG: else metrics and traces would not hear of it."""
    logged = {place for place, level, _ in calls() if level != "debug"}
    assert len(logged) > 30
    assert [place for place in logged if not place.startswith("log/")] == []


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (0, [(logging.ERROR, "job_failed")]),
        (1, [(logging.WARNING, "job_retried"), (logging.ERROR, "job_failed")]),
    ],
)
async def test_an_error_is_what_is_not_retried(
    app: App,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
    retry: int,
    expected: list[tuple[int, str]],
) -> None:
    @app.task(name="fail", retry=retry, queue="mail")
    async def fail() -> None:
        raise ValueError("no")

    job_id = await fail.defer_async()
    with caplog.at_level(logging.WARNING, "taskq.worker"):
        await drain(app, name="ada")
    records = [record.__dict__ for record in caplog.records]
    assert [(record["levelno"], record["action"]) for record in records] == expected
    for number, record in enumerate(records, start=1):
        facts = {name: record[name] for name in ("job_id", "task_name", "queue", "worker_name")}
        assert facts == {
            "job_id": job_id,
            "task_name": "fail",
            "queue": "mail",
            "worker_name": "ada",
        }
        assert record["attempt"] == number


HOSTILE = "a\nERROR forged \x1b[2J\u202e\x85\u2028"


def is_a_line(text: str) -> bool:
    return text.isprintable()


def test_every_logger_escapes_what_its_records_are_told() -> None:
    sources = {path: path.read_text() for path in sorted((ROOT / "taskq").rglob("*.py"))}
    makers = [
        path.relative_to(ROOT).as_posix()
        for path, source in sources.items()
        if re.search(r"^_?logger = logging", source, re.MULTILINE)
    ]
    assert makers == []
    assert sum(source.count("= get_logger(") for source in sources.values()) > 10


async def test_whatever_a_row_holds_no_message_has_more_than_one_line(
    app: App,
    drain: Drain,
    caplog: pytest.LogCaptureFixture,
    connection: psycopg.Connection,
) -> None:
    caplog.set_level(logging.DEBUG, "taskq")
    attempts = iter([Retry(message=HOSTILE), Snooze(timedelta(0)), ValueError(HOSTILE)])

    @app.task(name=f"fail {HOSTILE}")
    async def fail() -> None:
        raise next(attempts)

    @app.task(name=f"fine {HOSTILE}")
    async def fine() -> None: ...

    @app.task(name=f"abort {HOSTILE}")
    def abort() -> None:
        raise JobAborted(HOSTILE)

    @app.task(name=f"late {HOSTILE}", timeout=0.01)
    async def late() -> None:
        await asyncio.sleep(60)

    for task in (fail, fine, abort, late):
        await task.configure(queue=HOSTILE, lock=f"{task.name} {HOSTILE}").defer_async()
    for arguments in (json.dumps({HOSTILE: HOSTILE}), '{"n": 1e5000}'):  # neither fits
        connection.execute(
            "INSERT INTO taskq_jobs (task_name, queue_name, args) VALUES (%s, %s, %s)",
            [fine.name, HOSTILE, arguments],
        )
    connection.execute(
        "INSERT INTO taskq_jobs "
        "(task_name, queue_name, lock, args, status, worker_id, started_at, claim) "
        "VALUES (%s, %s, %s, '{}', 'doing', 1000000000, '2020-01-01', 1)",
        [fine.name, HOSTILE, HOSTILE],
    )
    await drain(app, name=HOSTILE, queues=[HOSTILE, "default"])
    records = [record for record in caplog.records if record.name.startswith("taskq")]
    assert {"job_failed", "job_retried", "job_aborted", "job_succeeded", "job_rescued"} <= {
        vars(record).get("action") for record in records
    }
    assert [record.getMessage() for record in records if not is_a_line(record.getMessage())] == []
    # For those who read them by machine, what the row holds is as it is.
    assert {vars(record)["queue"] for record in records if "queue" in vars(record)} == {HOSTILE}
