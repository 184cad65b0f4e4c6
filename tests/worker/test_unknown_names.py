"""What a worker was told and does not exist, mentioned when it starts."""

import logging

import pytest

from taskq import App
from tests.worker.conftest import Start, until


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "taskq.worker.unknown_names")


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "taskq.worker.unknown_names"
    ]


async def test_a_queue_that_does_not_exist_is_mentioned_with_the_one_that_may_be_meant(
    app: App, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(queue="mail")
    async def send() -> None: ...

    await app.configure_task("foreign", queue="reports").defer_async()
    await start(app, queues=["mail", "mial", "reports"])
    await until(lambda: said(caplog), "a warning")
    assert said(caplog) == [
        "no task of this app defers to the queue 'mial', and no job that is kept is in it: did you mean "
        "'mail'?"
    ]


async def test_a_variable_that_is_no_option_is_mentioned_with_the_one_that_may_be_meant(
    app: App, start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKQ_WORKER_CONCURENCY", "20")
    await start(app)
    await until(lambda: said(caplog), "a warning")
    assert said(caplog) == [
        "the variable 'TASKQ_WORKER_CONCURENCY' has no effect, as a worker has no option 'concurency': did "
        "you mean TASKQ_WORKER_CONCURRENCY?"
    ]
