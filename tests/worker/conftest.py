"""Apps and workers on the test's own database, and ways to disturb what a worker says to it."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import psycopg
import pytest
from sqlalchemy import Connection, make_url, text
from sqlalchemy.util import await_only

from taskq import App, Worker, queries
from taskq.database.notifications import Missed, Notification
from taskq.job import Job, JobStatus
from taskq.worker.services import Services
from taskq.worker.subscriber import Subscriber
from taskq_sql import job_claim
from tests import pooler
from tests.worker.effects import Effects, Tasks

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("program.py")

MakeApp = Callable[[], App]
Start = Callable[..., Coroutine[Any, Any, Worker]]
Drain = Callable[..., Coroutine[Any, Any, None]]
Finished = Callable[[int], Coroutine[Any, Any, Job]]
Way = Literal["to server", "back"]
Program = Callable[..., subprocess.Popen[str]]


async def until(condition: Callable[[], object], what: str = "it", seconds: float = 15) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {seconds} s"
        await asyncio.sleep(0.005)


def services_of(worker: Worker) -> Services:
    """The services of a worker that is registered."""
    assert worker._services is not None
    return worker._services


async def idle(worker: Worker) -> None:
    """Wait until a worker has nothing to do, and no reason to look for something."""
    services = services_of(worker)
    await until(
        lambda: (
            services.executor_pool.is_empty
            and services.completer.is_empty
            and not services.producer.is_pending
            and not services.producer.in_flight
        ),
        "an idle worker",
    )


async def statuses(app: App) -> dict[JobStatus, int]:
    """How many jobs stand where."""
    counted: Counter[JobStatus] = Counter()
    for (_, _, status), jobs in (await app.job_manager.count_jobs_async()).items():
        counted[status] += jobs
    return dict(counted)


@pytest.fixture
async def make_app(database_url: str) -> AsyncIterator[MakeApp]:
    """Makes apps on the test's database, each with connections of its own."""
    apps: list[App] = []

    def make() -> App:
        apps.append(App(database_url))
        return apps[-1]

    yield make
    for app in apps:
        await app.close_async()


@pytest.fixture
def app(make_app: MakeApp) -> App:
    """An app without tasks."""
    return make_app()


@pytest.fixture
async def start(
    connection: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Start]:
    """Starts a worker and waits until it is idle or at work; all are stopped at the end.

    ``worker.run`` must end without an error, and leave no row behind.
    """
    running: dict[Worker, asyncio.Task[None]] = {}
    notified: list[Notification] = []
    tell = Subscriber._tell

    def note_and_tell(subscriber: Subscriber, notification: Notification) -> None:
        notified.append(notification)
        tell(subscriber, notification)

    monkeypatch.setattr(Subscriber, "_tell", note_and_tell)

    async def start_worker(app: App, **options: Any) -> Worker:
        listening = notified.count(Missed())
        worker = app.worker(**{"install_signal_handlers": False} | options)
        task = asyncio.create_task(worker.run())
        running[worker] = task
        await until(lambda: worker.id or task.done(), "a registered worker")
        if worker.options.listen_notify and worker.options.wait:
            await until(
                lambda: notified.count(Missed()) > listening or task.done(), "a worker that listens"
            )
        return worker

    yield start_worker
    for worker in running:
        worker.stop()
    for worker, task in running.items():
        try:
            async with asyncio.timeout(15):
                await task
        except TimeoutError:
            pytest.fail(f"worker {worker.id} does not stop")
    rows = connection.execute("SELECT id FROM taskq_workers").fetchall()
    assert not {row[0] for row in rows} & {worker.id for worker in running}


@pytest.fixture
def drain() -> Drain:
    """Runs a worker of an app until no job is left for it."""

    async def run_worker(app: App, **options: Any) -> None:
        async with asyncio.timeout(30):
            await app.run_worker_async(
                **{"wait": False, "install_signal_handlers": False} | options
            )

    return run_worker


@pytest.fixture
def finished(app: App) -> Finished:
    """Waits until a job is final, and reads it."""

    async def wait_and_read(job_id: int) -> Job:
        deadline = time.monotonic() + 15
        while True:
            job = await app.job_manager.get_job_async(job_id)
            if job.finished_at is not None:
                return job
            assert time.monotonic() < deadline, f"job {job_id} is still {job.status}"
            await asyncio.sleep(0.01)

    return wait_and_read


class Disturbed:
    """The operations of workers, counted, and made to fail or to take long."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.calls: Counter[str] = Counter()
        self.claims: Counter[str] = Counter()

    def count(self, *names: str) -> None:
        """Count the calls of operations."""
        for name in names:
            self._patch(name, lambda original, *args, **kwargs: original(*args, **kwargs))

    def count_claims(self) -> None:
        """Count the statements that claim, and those that ask where there is something to claim."""
        for name in ("claim_jobs", "list_ready_queues"):
            counted = self._counted(name, getattr(job_claim.Querier, name))
            self._monkeypatch.setattr(job_claim.Querier, name, counted)

    def before(self, name: str, disturb: Callable[[Connection], object], times: int = 1) -> None:
        """Do something first, so many times."""
        left = [times]

        def around(
            original: Callable[..., Any], connection: Connection, *args: Any, **kwargs: Any
        ) -> Any:
            if left[0]:
                left[0] -= 1
                disturb(connection)
            return original(connection, *args, **kwargs)

        self._patch(name, around)

    def after(
        self,
        name: str,
        disturb: Callable[[Connection], object],
        times: int = 1,
        *,
        only_if: Callable[[Any], bool] = lambda answer: True,
    ) -> None:
        """Do something afterwards, before the answer is known, so many times."""
        left = [times]

        def around(
            original: Callable[..., Any], connection: Connection, *args: Any, **kwargs: Any
        ) -> Any:
            answer = original(connection, *args, **kwargs)
            if left[0] and only_if(answer):
                left[0] -= 1
                disturb(connection)
            return answer

        self._patch(name, around)

    def _counted(self, name: str, statement: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.claims[name] += 1
            return statement(*args, **kwargs)

        return counted

    def _patch(self, name: str, around: Callable[..., Any]) -> None:
        module = next(m for m in vars(queries).values() if hasattr(m, name))
        original = getattr(module, name)

        def patched(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            return around(original, *args, **kwargs)

        self._monkeypatch.setattr(module, name, patched)


def refused(connection: Connection) -> None:
    """An error that the server answers a statement with."""
    connection.execute(text("SELECT 1 / 0"))


def cut_off(connection: Connection) -> None:
    """The server ends the connection."""
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


def delayed(seconds: float) -> Callable[[Connection], object]:
    """Time passes, as on a slow network."""
    return lambda _: await_only(asyncio.sleep(seconds))


@pytest.fixture
def disturbed(monkeypatch: pytest.MonkeyPatch) -> Disturbed:
    """Counts what workers ask the database, and disturbs it."""
    return Disturbed(monkeypatch)


@pytest.fixture
def actions(caplog: pytest.LogCaptureFixture) -> Callable[[], list[tuple[str, str]]]:
    """What workers logged so far, INFO and above: level and action."""
    caplog.set_level(logging.INFO, "taskq")

    def logged() -> list[tuple[str, str]]:
        return [
            (record.levelname, getattr(record, "action", record.getMessage()))
            for record in caplog.records
            if record.name.startswith("taskq")
        ]

    return logged


@pytest.fixture
def program(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """Starts a worker in a process of its own, or Python with other arguments; with options for a worker.

    The tasks in ``program.py`` write what they do into ``tmp_path``.
    """
    started: list[subprocess.Popen[str]] = []

    def start_program(
        *arguments: str, environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        variables = {f"TASKQ_WORKER_{name.upper()}": str(value) for name, value in options.items()}
        process = subprocess.Popen(
            [sys.executable, *(arguments or [str(PROGRAM)])],
            env={
                **os.environ,
                **variables,
                **(environment or {}),
                "TASKQ_DATABASE_URL": pooler.for_another_process(database_url),
                "TASKQ_TEST_FOLDER": str(tmp_path),
                "PYTHONPATH": str(ROOT),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_program
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def effects(connection: psycopg.Connection) -> Effects:
    """What tasks have left, and committed, in order."""
    connection.execute("CREATE TABLE effects (name text, number serial)")

    def read() -> list[str]:
        rows = connection.execute("SELECT name FROM effects ORDER BY number").fetchall()
        return [row[0] for row in rows]

    return read


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def tasks(app: App, request: pytest.FixtureRequest) -> Tasks:
    """Declares tasks with transactions."""
    return Tasks(app, request.param)


class Line:
    """A TCP line to the server that can go dead: nothing is closed, and nothing comes through."""

    def __init__(self, database_url: str) -> None:
        self._url = make_url(database_url)
        self._server: asyncio.Server | None = None
        self._gates = self._open_gates()
        self._carriers: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Begin to carry; returns the URL to use it by."""
        self._server = await asyncio.start_server(self._carry_both_ways, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return self._url.set(host="127.0.0.1", port=port, query={}).render_as_string(False)

    def die(self, *, also_new: bool = False, ways: Sequence[Way] = ("to server", "back")) -> None:
        """Let nothing through any more, on the connections there are or also on new ones."""
        for way in ways:
            self._gates[way].clear()
        if not also_new:
            self._gates = self._open_gates()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for carrier in self._carriers:
            carrier.cancel()
        await asyncio.gather(*self._carriers, return_exceptions=True)

    @staticmethod
    def _open_gates() -> dict[Way, asyncio.Event]:
        gates: dict[Way, asyncio.Event] = {"to server": asyncio.Event(), "back": asyncio.Event()}
        for gate in gates.values():
            gate.set()
        return gates

    async def _carry_both_ways(
        self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter
    ) -> None:
        gates = self._gates
        host, port = (str(self._url.query[name]) for name in ("host", "port"))
        far, to_far = await (
            asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
            if host.startswith("/")
            else asyncio.open_connection(host, port)
        )
        for reader, writer, gate in (
            (near, to_far, gates["to server"]),
            (far, to_near, gates["back"]),
        ):
            carrier = asyncio.create_task(self._carry(reader, writer, gate))
            self._carriers.add(carrier)
            carrier.add_done_callback(self._carriers.discard)

    @staticmethod
    async def _carry(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            while data := await reader.read(65536):
                await gate.wait()
                writer.write(data)


@pytest.fixture
async def line(database_url: str) -> AsyncIterator[Line]:
    """A line to the test's database."""
    line = Line(database_url)
    yield line
    await line.close()


@pytest.fixture
async def far_app(line: Line) -> AsyncIterator[App]:
    """An app at the other end of the line."""
    app = App(await line.open())
    yield app
    await app.close_async()


async def errors_of(app: App, job_id: int) -> list[tuple[str, str]]:
    """Why a job's attempts failed: type and message of each."""
    attempts = await app.job_manager.list_failed_attempts_async(job_id)
    return [(attempt.error_type, attempt.error_message) for attempt in attempts]
