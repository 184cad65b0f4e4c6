"""What a worker's log records carry, for those who read them by machine."""

import ast
import logging
from collections.abc import Iterator

import pytest

from taskq import App
from tests.worker.conftest import ROOT, Drain

LEVELS = {"debug", "info", "warning", "error", "critical", "log"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call in the engine that writes a log record, and where it is."""
    for path in sorted((ROOT / "taskq" / "worker").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="logger"), attr=level)):
                    if level in LEVELS:
                        yield f"{path.name}:{node.lineno}", node


def action(call: ast.Call) -> str | None:
    """The ``action`` of a call, as it is written there: in a dictionary, or by ``_extra``."""
    extra = next((keyword.value for keyword in call.keywords if keyword.arg == "extra"), None)
    match extra:
        case ast.Dict(keys=keys, values=values):
            for key, value in zip(keys, values, strict=True):
                match key, value:
                    case ast.Constant(value="action"), ast.Constant(value=str(name)):
                        return name
        case ast.Call(func=ast.Attribute(attr="_extra"), args=[ast.Constant(value=str(name))]):
            return name
    return None


def test_each_record_has_an_action_that_the_docs_name() -> None:
    page = (ROOT / "docs" / "worker.md").read_text()
    found = {place: action(call) for place, call in calls()}
    assert len(found) > 15, "the pattern no longer finds them"
    assert [place for place, name in found.items() if name is None] == []
    assert [name for name in set(found.values()) if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (0, [(logging.ERROR, "job_failed")]),
        (1, [(logging.WARNING, "job_retried"), (logging.ERROR, "job_failed")]),
    ],
)
async def test_an_error_is_what_nobody_will_retry(
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
