"""More than PostgreSQL takes in one statement; here it is less than that."""

import asyncio
from typing import Any

import psycopg
import pytest

from taskq import App, JobStatus, queries
from taskq.exceptions import InvalidJob
from taskq.task import Task

LARGE = "x" * 20_000


@pytest.fixture(autouse=True)
def bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries.rows, "LARGEST_DOCUMENT", 50_000)


@pytest.fixture
def send(app: App) -> Task[..., Any]:
    @app.task(name="send", store_result=True)
    def send(text: str, times: int = 1) -> str:
        return text * times

    return send


async def test_a_batch_that_is_too_large_is_refused_with_its_size_before_it_is_sent(
    app: App, send: Task[..., Any], database_url: str
) -> None:
    expected = r"too large for one statement \(60,\d\d\d bytes for 3 jobs, of 50,000 at most\)"
    calls = [{"text": LARGE}] * 3
    with pytest.raises(InvalidJob, match=expected):
        send.batch_defer(*calls)
    with pytest.raises(InvalidJob, match=expected):
        await send.batch_defer_async(*calls)
    with pytest.raises(InvalidJob, match="for 1 jobs"):
        send.defer(text=LARGE * 3)
    with psycopg.connect(database_url.replace("+psycopg", "")) as own:
        own.execute("CREATE TABLE orders ()")
        with pytest.raises(InvalidJob, match=expected):
            send.configure(connection=own, on_conflict="skip").batch_defer(*calls)
        send.configure(connection=own).batch_defer(*calls[1:])
    assert len(app.job_manager.list_jobs()) == 2, "and the caller's work was committed"


async def test_calls_that_would_be_too_large_together_go_alone(
    app: App, send: Task[..., Any]
) -> None:
    calls = (send.defer_async(text=LARGE * times) for times in (1, 1, 1, 1, 3, 1))
    *ids, refused, last = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(refused, InvalidJob)
    assert [job.id for job in app.job_manager.list_jobs()] == [*ids, last]


async def test_results_that_are_too_large_together_are_written_and_one_that_is_alone_fails_its_job(
    app: App, send: Task[..., Any]
) -> None:
    ids = send.batch_defer(*({"text": "x" * 100, "times": times} for times in (200, 200, 200, 600)))
    await app.run_worker_async(wait=False, concurrency=4)
    statuses = [app.job_manager.get_job_status(id_) for id_ in ids]
    assert statuses == [*[JobStatus.SUCCEEDED] * 3, JobStatus.FAILED]
    [attempt] = app.job_manager.list_failed_attempts(ids[3])
    assert "too large for one statement" in attempt.error_message


def test_what_is_too_large_for_the_server_alone_is_told_in_the_same_words(
    app: App, database_url: str
) -> None:
    # As it says of 18 million small numbers, which are 36 MB of text.
    said = "invalid memory alloc request size 1073741824"
    with psycopg.connect(database_url.replace("+psycopg", ""), autocommit=True) as own:
        own.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE internal_error USING MESSAGE = '{said}'; END $$"
        )
        own.execute("CREATE TRIGGER refuse BEFORE INSERT ON taskq_jobs EXECUTE FUNCTION refuse()")
    with pytest.raises(InvalidJob, match=f"too large for one statement .{said}"):
        app.configure_task("send").defer()
