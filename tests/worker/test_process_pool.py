"""Tasks in processes of their own: what crosses, what dies, and what is ended."""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from taskq import App, Job, JobContext, JobStatus, Worker
from taskq.exceptions import InvalidJob, InvalidOption, InvalidSignature
from tests.worker import crunching
from tests.worker.conftest import Drain, Finished, Program, Start, errors_of, until

CRUNCHING = str(Path(crunching.__file__))


@pytest.fixture
def app(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    # For the processes, which import the app anew.
    monkeypatch.setenv("TASKQ_DATABASE_URL", database_url)
    with crunching.app.replace_database(database_url) as app:
        yield app


async def ran(app: App, drain: Drain, name: str, /, **arguments: Any) -> Job:
    """Run a job of a task; what has become of it."""
    job_id = await app.configure_task(name).defer_async(**arguments)
    await drain(app)
    return await app.job_manager.get_job_async(job_id)


def pids(worker: Worker) -> Sequence[int | None]:
    return worker._environment.processes.pids


def gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


async def read(file: Path) -> str:
    def text() -> str:
        return file.read_text() if file.exists() else ""

    await until(text, "what the task writes", 30)
    return text()


async def test_arguments_and_results_cross_as_what_the_function_annotates(
    app: App, drain: Drain
) -> None:
    corners = [crunching.Point(x=1, at=datetime(2030, 1, 1, tzinfo=UTC))]
    job_id = await crunching.box.defer_async(corners=corners)
    await drain(app)
    result = crunching.box.result(await app.job_manager.get_job_async(job_id))
    assert isinstance(result, crunching.Box)
    assert result.corners == corners
    assert result.pid != os.getpid()


@pytest.mark.slow
async def test_a_process_is_started_when_it_is_needed_and_kept_for_the_next_job(
    app: App, start: Start, finished: Finished
) -> None:
    worker = await start(app, concurrency=4, max_task_processes=2)
    await finished(await app.configure_task("neighbour").defer_async(seconds=0))
    assert pids(worker) == []
    ids = await app.tasks["pid"].batch_defer_async(*({"seconds": 0.2} for _ in range(6)))
    seen = {(await finished(job_id)).result for job_id in ids}
    assert seen == set(pids(worker))
    assert len(seen) == 2, "as many as it may have"
    worker.stop()
    await until(lambda: not pids(worker), "the end of the processes")
    await until(lambda: all(gone(int(str(pid))) for pid in seen), "the end of the processes")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("segfault", "SIGSEGV: a crash"),
        pytest.param("exit", "ended with exit code 7", marks=pytest.mark.slow),
        pytest.param("kill", "SIGKILL: as a rule by the kernel", marks=pytest.mark.slow),
        pytest.param("forked", "ended with exit code 8", marks=pytest.mark.slow),
    ],
)
async def test_a_crash_fails_its_job_and_no_other(
    app: App, start: Start, finished: Finished, how: str, says: str
) -> None:
    worker = await start(app, concurrency=3, max_task_processes=2)
    beside = [
        await app.configure_task("pid").defer_async(seconds=2),
        await app.configure_task("neighbour").defer_async(seconds=2),
    ]
    job = await finished(await app.configure_task("die").defer_async(how=how))
    assert (job.status, job.claim, job.crashes) == (JobStatus.FAILED, 1, 0)
    [(kind, message)] = await errors_of(app, job.id)
    assert kind == "taskq.exceptions.TaskProcessDied"
    assert f"job {job.id} (die)" in message
    assert says in message
    for job_id in beside:
        other = await finished(job_id)
        assert (other.status, other.claim) == (JobStatus.SUCCEEDED, 1)
    assert worker.id


@pytest.mark.slow
async def test_a_crash_is_retried_as_any_failure_and_one_that_died_idle_costs_no_job(
    app: App, start: Start, finished: Finished
) -> None:
    worker = await start(app)
    job = await finished(await app.configure_task("die once").defer_async())
    assert job.result == ["taskq.exceptions.TaskProcessDied"]
    [idle] = pids(worker)
    assert idle
    os.kill(idle, signal.SIGKILL)
    job = await finished(await app.configure_task("pid").defer_async())
    assert job.status is JobStatus.SUCCEEDED
    assert job.result != idle


@pytest.mark.slow
async def test_what_it_raises_is_what_the_strategy_and_the_record_get(
    app: App, drain: Drain
) -> None:
    job = await ran(app, drain, "wrong", how="odd")
    assert (job.status, job.attempt) == (JobStatus.FAILED, 2), "retried, by its class"
    assert await errors_of(app, job.id) == [("tests.worker.crunching.OddError", "5: odd")] * 2
    [first, _] = await app.job_manager.list_failed_attempts_async(job.id)
    assert 'raise OddError(5, "odd")' in first.error_traceback, "where it was raised"
    local = await ran(app, drain, "wrong", how="local")
    [(kind, message)] = await errors_of(app, local.id)
    assert kind == "taskq.exceptions.TaskProcessError"
    assert "LocalError: of no module" in message
    group = await ran(app, drain, "wrong", how="group")
    assert (await errors_of(app, group.id))[0][0] == "ExceptionGroup"
    left = await ran(app, drain, "die", how="system exit")
    assert await errors_of(app, left.id) == [("SystemExit", "9")]


@pytest.mark.slow
async def test_what_it_says_to_the_worker_is_heard(app: App, drain: Drain) -> None:
    retried = await ran(app, drain, "say", what="retry")
    assert (retried.status, retried.attempt) == (JobStatus.SUCCEEDED, 2)
    assert await errors_of(app, retried.id) == [("taskq.exceptions.Retry", "once more")]
    snoozed = await ran(app, drain, "say", what="snooze")
    assert (snoozed.status, snoozed.attempt) == (JobStatus.TODO, 0)
    assert (await ran(app, drain, "say", what="abort")).status is JobStatus.ABORTED


async def test_the_context_the_log_and_progress_cross_and_what_cannot_says_so(
    app: App, drain: Drain, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    job_id = await app.configure_task("tell").defer_async()
    await drain(app, name="w", additional_context={"colour": "blue", "lock": threading.Lock()})
    job = await app.job_manager.get_job_async(job_id)
    assert job.status is JobStatus.SUCCEEDED, await errors_of(app, job_id)
    assert isinstance(job.result, dict)
    refused = job.result.pop("refused")
    assert job.result == {
        "worker": "w",
        "task": "tell",
        "is own app": True,
        "colour": "blue",
        "job": job_id,
        "child": 0,
    }
    assert isinstance(refused, list)
    assert [str(said).partition(":")[0] for said in refused] == [
        "InvalidTransaction",
        "InvalidTransaction",
        "InvalidOption",
    ]
    assert "make it in the task's own module" in str(refused[-1])
    assert job.progress
    assert (job.progress.done, job.progress.message) == (3, "nearly")
    counts, wrong = (record for record in caplog.records if record.name == "crunching")
    assert counts.getMessage() == "counts to 3"
    assert (vars(counts)["fruit"], counts.processName) == ("apple", "w/1")
    assert "ValueError: a mistake" in (wrong.exc_text or "")


@pytest.mark.slow
async def test_middleware_wraps_it_in_the_worker(app: App, drain: Drain) -> None:
    seen: list[tuple[str, object]] = []

    def task_middleware(call: Callable[[], Any], context: JobContext, worker: Any) -> Any:
        result = call()
        seen.append((context.task.name, result))
        return result

    job_id = await app.configure_task("pid").defer_async()
    await drain(app, task_middleware=task_middleware)
    job = await app.job_manager.get_job_async(job_id)
    assert seen == [("pid", job.result)]


@pytest.mark.slow
async def test_a_task_in_a_process_defers_jobs(app: App, drain: Drain) -> None:
    job = await ran(app, drain, "defers")
    deferred = await app.job_manager.get_job_async(int(str(job.result)))
    assert (deferred.task_name, deferred.status) == ("pid", JobStatus.SUCCEEDED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden", "lock"])
async def test_what_cannot_cross_fails_with_what_to_do(app: App, drain: Drain, name: str) -> None:
    job = await ran(app, drain, name)
    assert job.status is JobStatus.FAILED
    [(kind, message)] = await errors_of(app, job.id)
    says = {"hidden": "call asyncio.run() in the task", "lock": "return plain values"}
    assert kind in {"taskq.exceptions.InvalidSignature", "taskq.exceptions.InvalidResult"}
    assert says[name] in message
    assert (await ran(app, drain, "unneeded")).status is JobStatus.SUCCEEDED


async def test_an_abort_ends_the_process(
    app: App, start: Start, finished: Finished, tmp_path: Path
) -> None:
    await start(app, abort_job_polling_interval=0.1)
    file = tmp_path / "pid"
    job_id = await app.configure_task("sleep").defer_async(file=str(file), seconds=600)
    pid = int(await read(file))
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED
    assert gone(pid)


@pytest.mark.slow
async def test_a_task_with_a_context_can_see_an_abort_before_its_process_is_ended(
    app: App, start: Start, finished: Finished, tmp_path: Path
) -> None:
    worker = await start(app, abort_job_polling_interval=0.1)
    file = tmp_path / "pid"
    job_id = await app.configure_task("polite").defer_async(file=str(file))
    pid = int(await read(file))
    await app.job_manager.cancel_job_by_id_async(job_id, abort=True)
    assert (await finished(job_id)).status is JobStatus.ABORTED
    assert file.read_text() == "user_request"
    assert pids(worker) == [pid], "it is kept"


@pytest.mark.slow
async def test_a_timeout_ends_the_process_and_is_a_failure(app: App, drain: Drain) -> None:
    job = await ran(app, drain, "short", seconds=600)
    assert job.status is JobStatus.FAILED
    [(kind, message)] = await errors_of(app, job.id)
    assert kind == "taskq.exceptions.JobTimeout"
    assert "longer than the 0.5 s" in message


@pytest.mark.slow
async def test_asked_to_stop_a_worker_lets_it_finish_until_the_graceful_time_is_over(
    app: App, start: Start, tmp_path: Path
) -> None:
    worker = await start(app, shutdown_graceful_timeout=0.3)
    file = tmp_path / "pid"
    job_id = await app.configure_task("sleep").defer_async(file=str(file), seconds=600)
    pid = int(await read(file))
    worker.stop()
    await until(lambda: gone(pid), "the end of the process")
    await until(
        lambda: app.job_manager.get_job_status(job_id) is JobStatus.ABORTED, "the end of the job"
    )


@pytest.mark.slow
async def test_a_worker_that_is_killed_takes_its_processes_along(
    app: App, program: Program, connection: psycopg.Connection, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    await app.configure_task("sleep").defer_async(file=str(file), seconds=600)
    process = program(CRUNCHING)
    pid = int(await read(file))
    process.kill()
    await until(lambda: gone(pid), "the end of the process")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_a_signal_to_all_lets_what_runs_finish(
    app: App, program: Program, finished: Finished, tmp_path: Path, number: signal.Signals
) -> None:
    """Of a script that is the main module, whose tasks its processes import all the same."""
    file = tmp_path / "pid"
    job_id = await app.configure_task("sleep").defer_async(file=str(file), seconds=2)
    process = program(CRUNCHING)
    pid = int(await read(file))
    os.kill(pid, number)
    process.send_signal(number)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert (await finished(job_id)).status is JobStatus.SUCCEEDED
    assert gone(pid)


@pytest.mark.slow
async def test_told_twice_it_leaves_at_once_and_the_process_ends(
    app: App, program: Program, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    job_id = await app.configure_task("sleep").defer_async(file=str(file), seconds=600)
    process = program("-m", "taskq", "worker", "--app", "tests.worker.crunching:app")
    pid = int(await read(file))
    process.terminate()
    assert process.stderr
    while "stops" not in await asyncio.to_thread(process.stderr.readline):
        pass
    process.terminate()
    assert await asyncio.to_thread(process.wait, 20) == 130
    await until(lambda: gone(pid), "the end of the process")
    assert app.job_manager.get_job_status(job_id) is JobStatus.TODO


def test_what_cannot_run_in_a_process_is_refused_when_it_is_declared() -> None:
    app = App("postgresql://")

    async def on_the_loop() -> None: ...

    def transacted(context: Any) -> None: ...

    with pytest.raises(InvalidSignature, match="is async, so that it runs on the event loop"):
        app.task(executor="process")(on_the_loop)
    with pytest.raises(InvalidSignature, match="connection cannot be passed to another process"):
        app.task(executor="process", pass_context=True, transaction=True)(transacted)
    with pytest.raises(InvalidJob, match="give 'thread' or 'process'"):
        app.task(executor="fork")(transacted)  # type: ignore[call-overload]


async def test_an_app_that_no_process_can_import_is_refused_when_its_worker_starts(
    database_url: str,
) -> None:
    local = App(database_url)

    @local.task(name="local", executor="process")
    def task() -> None: ...

    with pytest.raises(InvalidOption, match="assign the app to a variable at the top of a module"):
        await local.run_worker_async(wait=False, install_signal_handlers=False)
    await local.close_async()
