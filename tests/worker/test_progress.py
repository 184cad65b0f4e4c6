"""Progress: what tasks report of how far they are, written now and then, and the last of it with the end."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from taskq import App, JobContext, JobStatus
from taskq.exceptions import InvalidProgress
from taskq.progress import NewProgress, Progress, read_progress
from taskq.queries import job_progress
from taskq.queries.job_progress import Report
from taskq.worker import progress_reporter
from tests.worker.conftest import Drain, Finished, Start, until


class Written:
    """The statements that write progress, each with what it wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements: list[Sequence[Report]] = []
        report = job_progress.report_progress

        def written(connection: Any, reports: Sequence[Report]) -> set[int]:
            self.statements.append(reports)
            return report(connection, reports)

        monkeypatch.setattr(job_progress, "report_progress", written)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Written:
    return Written(monkeypatch)


async def progress_of(app: App, job_id: int) -> Progress | None:
    return (await app.job_manager.get_job_async(job_id)).progress


async def until_reported(app: App, job_id: int) -> Progress:
    async with asyncio.timeout(15):
        while True:
            if progress := await progress_of(app, job_id):
                return progress
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
async def test_progress_is_seen_while_a_job_runs_and_the_last_at_its_end(
    is_async: bool, app: App, start: Start, finished: Finished
) -> None:
    go_on = threading.Event()

    @app.task(pass_context=True, name="async")
    async def report_async(context: JobContext) -> None:
        context.report_progress(1, 4, "first")
        await asyncio.to_thread(go_on.wait, 15)
        for done in (2, 3, 4):
            context.report_progress(done, 4)

    @app.task(pass_context=True, name="sync")
    def report(context: JobContext) -> None:
        context.report_progress(1, 4, "first")
        go_on.wait(15)
        for done in (2, 3, 4):
            context.report_progress(done, 4)

    await start(app)
    job_id = await (report_async if is_async else report).defer_async()
    progress = await until_reported(app, job_id)
    assert (progress.done, progress.total, progress.message) == (1, 4, "first")
    assert str(progress) == "1 of 4 (25 %): first"
    go_on.set()
    job = await finished(job_id)
    assert job.progress is not None
    assert (job.progress.done, job.progress.total, job.progress.message) == (4, 4, None)
    assert job.started_at is not None
    assert job.progress.reported_at >= job.started_at


async def test_all_of_a_workers_jobs_are_written_in_one_statement_at_most_once_a_second(
    app: App, start: Start, written: Written, finished: Finished
) -> None:
    go_on = asyncio.Event()

    @app.task(pass_context=True)
    async def report(context: JobContext) -> None:
        done = 0
        while not go_on.is_set():
            done += 1
            context.report_progress(done)
            await asyncio.sleep(0.001)

    ids = await report.batch_defer_async(*[{}] * 10)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await start(app, concurrency=10)
    await until(lambda: len(written.statements) >= 3)
    assert loop.time() - began >= 2 * progress_reporter._INTERVAL
    assert {each.job_id for each in written.statements[-1]} == set(ids)
    go_on.set()
    for job_id in ids:
        assert (await finished(job_id)).progress is not None


async def test_what_is_being_written_when_the_job_ends_is_not_lost(
    app: App, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The statement comes after the end, and finds a job that is not doing any more."""
    taken = asyncio.Event()
    take_all = progress_reporter.ProgressBoard.take_all

    async def taken_and_late(board: progress_reporter.ProgressBoard) -> Sequence[Report]:
        reports = await take_all(board)
        taken.set()
        await asyncio.Event().wait()
        return reports

    monkeypatch.setattr(progress_reporter.ProgressBoard, "take_all", taken_and_late)

    @app.task(pass_context=True)
    async def report(context: JobContext) -> None:
        context.report_progress(7)
        await taken.wait()

    job_id = await report.defer_async()
    await drain(app)
    progress = await progress_of(app, job_id)
    assert progress is not None
    assert progress.done == 7


async def test_what_was_left_out_comes_again(
    app: App, start: Start, connection: psycopg.Connection, database_url: str, written: Written
) -> None:
    began, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    @app.task(pass_context=True)
    async def report(context: JobContext) -> None:
        began.set()
        await go_on.wait()
        context.report_progress(3)
        await ended.wait()

    await start(app)
    job_id = await report.defer_async()
    await began.wait()
    with psycopg.connect(database_url.replace("+psycopg", "")) as other:
        other.execute("SELECT FROM taskq_jobs FOR UPDATE")
        go_on.set()
        await until(lambda: written.statements)
        await asyncio.sleep(0)
        assert await progress_of(app, job_id) is None
    assert (await until_reported(app, job_id)).done == 3
    ended.set()


async def test_progress_belongs_to_an_attempt(app: App, start: Start, finished: Finished) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.task(pass_context=True, retry=1)
    async def report(context: JobContext) -> None:
        if context.job.attempt == 1:
            context.report_progress(5)
            raise ValueError
        began.set()
        await go_on.wait()

    await start(app)
    job_id = await report.defer_async()
    await began.wait()
    assert await progress_of(app, job_id) is None
    go_on.set()
    job = await finished(job_id)
    assert (job.status, job.progress) == (JobStatus.SUCCEEDED, None)


async def test_a_failed_job_keeps_how_far_it_came(app: App, drain: Drain) -> None:
    @app.task(pass_context=True)
    def report(context: JobContext) -> None:
        context.report_progress(0.5, 2, "\u2603 half way")
        raise ValueError

    job_id = await report.defer_async()
    await drain(app)
    progress = await progress_of(app, job_id)
    assert str(progress) == "0.5 of 2 (25 %): \u2603 half way"


async def test_a_job_that_reports_nothing_costs_nothing(
    app: App, drain: Drain, connection: psycopg.Connection, written: Written
) -> None:
    @app.task(pass_context=True)
    async def noop(context: JobContext) -> None: ...

    await noop.defer_async()
    await drain(app)
    assert written.statements == []
    assert connection.execute("SELECT count(progress) FROM taskq_jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    "arguments",
    [
        (float("nan"),),
        (float("inf"),),
        (-1,),
        (True,),
        ("5",),
        (10**400,),
        (1, float("inf")),
        (1, -1),
        (1, "4"),
        (1, 4, 5),
        (1, 4, "\0"),
        (1, 4, "\ud800"),
        (1, 4, "x" * 501),
    ],
    ids=repr,
)
async def test_what_is_no_progress_is_refused(
    arguments: tuple[Any, ...], app: App, drain: Drain
) -> None:
    @app.task(pass_context=True)
    async def report(context: JobContext) -> None:
        with pytest.raises(InvalidProgress, match=r"^(done|total|message)=.*: give a"):
            context.report_progress(*arguments)

    job_id = await report.defer_async()
    await drain(app)
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.progress) == (JobStatus.SUCCEEDED, None)


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [],
        {},
        {"claim": 1},
        {"claim": 1, "done": "5", "reported_at": "2020-01-01T00:00:00+00:00"},
        {"claim": 1, "done": 5, "reported_at": "soon"},
        {"claim": 1, "done": 5, "reported_at": 5},
        {"claim": 2, "done": 5, "reported_at": "2020-01-01T00:00:00+00:00"},
    ],
    ids=repr,
)
def test_what_is_written_by_hand_is_none(stored: Any) -> None:
    assert read_progress(stored, claim=1) is None


def test_progress_reads_as_people_say_it() -> None:
    board = progress_reporter.ProgressBoard()
    assert board.take(1, 1) is None
    at = "2020-01-01T00:00:00+00:00"
    stored = {"claim": 1, "done": 1200, "total": 0, "message": "m", "reported_at": at}
    assert str(read_progress(stored, claim=1)) == "1,200 of 0: m"
    assert NewProgress.of(1, None, None) == NewProgress(done=1)


async def test_the_last_goes_with_the_commit_of_a_tasks_transaction(
    app: App, drain: Drain, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_reporter, "_INTERVAL", 60)

    @app.task(pass_context=True)
    async def pay(context: JobContext) -> None:
        context.report_progress(1, 3)
        await until(lambda: written.statements, "the first report")
        async with context.transaction():
            context.report_progress(3, 3)

    job_id = await pay.defer_async()
    await drain(app)
    progress = await progress_of(app, job_id)
    assert progress is not None
    assert (progress.done, progress.total) == (3, 3)
    assert len(written.statements) == 1
