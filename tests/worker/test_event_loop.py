"""What a job's code starts may raise what ends an event loop: the worker and its other jobs go on."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from taskq import App
from taskq.exceptions import InvalidOption
from taskq.job import JobStatus
from taskq.worker.event_loop import _is_from_signal
from tests.worker.conftest import Finished, Program, errors_of, statuses, until

# As after any other error: what awaits has it, and what nothing awaits has failed alone.
UNRULY = {
    "task": "KeyboardInterrupt",
    "gather": "KeyboardInterrupt",
    "group": "KeyboardInterrupt",
    "forgotten task": None,
    "callback": None,
    "timer": None,
    "done callback": None,
    "other thread": None,
    "stop": None,
}

COMMAND_LINE = ("-m", "taskq", "worker", "--app", "tests.worker.program:app")


async def begun(folder: Path, note: str) -> None:
    notes = folder / "notes"
    await until(lambda: notes.exists() and note in notes.read_text().splitlines(), note, 30)


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = await asyncio.to_thread(process.communicate, timeout=15)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("arguments", [(), COMMAND_LINE], ids=["run_worker", "command line"])
async def test_what_a_job_starts_fails_no_other_job_and_not_the_worker(
    app: App,
    program: Program,
    finished: Finished,
    tmp_path: Path,
    arguments: tuple[str, ...],
    loop: str,
) -> None:
    neighbour = await app.configure_task("nap").defer_async(seconds=3)
    process = program(*arguments, concurrency=20, loop=loop)
    await begun(tmp_path, "nap")
    unruly = app.configure_task("unruly")
    ids = {how: await unruly.defer_async(how=how) for how in UNRULY}
    for how, error in UNRULY.items():
        job = await finished(ids[how])
        assert job.status is (JobStatus.FAILED if error else JobStatus.SUCCEEDED), how
        assert [kind for kind, _ in await errors_of(app, job.id)] == ([error] if error else [])
    assert await app.job_manager.get_job_status_async(neighbour) is JobStatus.DOING
    process.send_signal(signal.SIGTERM)
    code, said = await ended(process)
    assert code == 0, said
    # Of several in one round of it uvloop tells the last.
    assert said.count("goes on: ") == len(UNRULY) or loop == "uvloop", said
    assert "goes on: " in said
    job = await app.job_manager.get_job_async(neighbour)
    assert (job.status, job.claim, job.crashes) == (JobStatus.SUCCEEDED, 1, 0)


async def test_two_signals_end_it_at_once_afterwards(
    app: App, program: Program, finished: Finished, tmp_path: Path
) -> None:
    await app.configure_task("nap").defer_async(seconds=600)
    process = program(concurrency=2)
    await begun(tmp_path, "nap")
    await finished(await app.configure_task("unruly").defer_async(how="task"))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0
    assert await statuses(app) == {JobStatus.TODO: 1, JobStatus.FAILED: 1}


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 3)],
    ids=["SIGINT", "own"],
)
async def test_a_signal_that_the_worker_does_not_handle_ends_it_as_any_program(
    app: App,
    program: Program,
    finished: Finished,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
) -> None:
    neighbour = await app.configure_task("nap").defer_async(seconds=1)
    process = program(
        concurrency=2,
        install_signal_handlers=False,
        environment={"TASKQ_TEST_LEAVE_ON_SIGTERM": "1"},
    )
    await begun(tmp_path, "nap")
    await finished(await app.configure_task("unruly").defer_async(how="callback"))
    process.send_signal(number)
    assert (await ended(process))[0] == code
    assert await app.job_manager.get_job_status_async(neighbour) is JobStatus.SUCCEEDED


class Handler:
    def method(self, *_: object) -> NoReturn:
        raise SystemExit

    def __call__(self, *_: object) -> NoReturn:
        raise SystemExit


@pytest.mark.parametrize(
    "handler",
    [Handler().method, Handler(), partial(Handler().method, "more")],
    ids=["method", "object", "partial"],
)
def test_what_the_handler_of_a_signal_raises_is_told_from_what_a_task_does(
    handler: Callable[..., Any],
) -> None:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit) as raised:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert _is_from_signal(raised.value)
        assert not _is_from_signal(SystemExit())
    finally:
        signal.signal(signal.SIGUSR1, before)


def loop_of(app: App, **options: Any) -> str:
    """The module of the event loop that a worker runs on."""
    seen: list[str] = []

    @app.task(name="which")
    async def which() -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)

    which.defer()
    app.run_worker(wait=False, install_signal_handlers=False, **options)
    return seen[0]


@pytest.mark.parametrize(
    ("loop", "module"), [("auto", "uvloop"), ("uvloop", "uvloop"), ("asyncio", "asyncio")]
)
def test_it_runs_on_uvloop_where_that_is_installed_unless_it_is_refused(
    app: App, loop: str, module: str
) -> None:
    assert loop_of(app, loop=loop).startswith(module)


def test_without_uvloop_it_runs_on_asyncio_and_says_what_is_missing_if_asked_for_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_of(app).startswith("asyncio")
    with pytest.raises(InvalidOption, match=r"pip install 'taskq-sql\[uvloop\]'"):
        app.run_worker(wait=False, loop="uvloop")


def test_while_it_runs_the_garbage_collector_leaves_out_what_was_there_before(app: App) -> None:
    seen: list[bool] = []

    @app.task(name="look")
    async def look() -> None:
        collected = {id(found) for found in gc.get_objects()}
        seen.extend([id(app) in collected, id(asyncio.current_task()) in collected])

    look.defer()
    app.run_worker(wait=False, install_signal_handlers=False)
    assert seen == [False, True]
    assert any(found is app for found in gc.get_objects())
