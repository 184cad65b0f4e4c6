"""In web applications: with the server, in the session of a request, and with a worker beside."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from taskq import App, JobStatus
from taskq.contrib.asgi import Deferring, lifespan
from taskq.database.database import URL_VARIABLE
from taskq.exceptions import InvalidDatabase, InvalidOption, SchemaNotApplied
from taskq.telemetry import WorkerStopped
from tests.test_docs import ROOT, blocks

EXAMPLE = ROOT / "examples" / "fastapi"


@asynccontextmanager
async def served(web: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A web application as a server has it: by ASGI's own messages from its startup to its shutdown."""
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    running = asyncio.create_task(web(scope, received.get, sent.put))
    for half in ("startup", "shutdown"):
        await received.put({"type": f"lifespan.{half}"})
        async with asyncio.timeout(30):
            assert (await sent.get())["type"] == f"lifespan.{half}.complete"
        if half == "startup":
            transport = httpx.ASGITransport(web)
            async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
                yield client
    await running


@pytest.fixture
def page(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What docs/fastapi.md defines."""
    monkeypatch.setenv(URL_VARIABLE, database_url)
    module = ModuleType("fastapi_page")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where Litestar looks names up
    names = vars(module)
    source = "\n".join(blocks(ROOT / "docs" / "fastapi.md", "python"))
    exec(compile(source, "fastapi.md", "exec"), names)  # noqa: S102
    yield names
    names["app"].close()


@pytest.mark.parametrize("web", ["web_starlette", "web_litestar"])
async def test_a_request_defers_and_the_worker_beside_it_runs(
    web: str, page: dict[str, Any]
) -> None:
    app: App = page["app"]
    async with served(page[web]) as client:
        answer = await client.post("/orders/17", params={"to": "ada@example.org"})
        job_id = answer.json()["job_id"]
        job = await app.job_manager.wait_for_job_async(job_id, timeout=20)
        assert job.status is JobStatus.SUCCEEDED
        assert job.task_kwargs == {"order_id": 17, "to": "ada@example.org"}
        assert len(await app.job_manager.list_workers_async()) == 1
    assert app.job_manager.list_workers() == []


async def test_what_the_session_rolls_back_is_not_deferred(database_url: str) -> None:
    app = App(database_url)

    @app.task(name="send")
    async def send(to: str) -> None: ...

    engine = app.database.async_engine.execution_options(isolation_level="READ COMMITTED")
    async with app.open_async(), AsyncSession(engine) as session:
        deferring = Deferring(session)
        await deferring(send).defer_async(to="ada")
        await session.rollback()
        kept = await deferring(send.configure(queue="mail")).defer_async(to="bob")
        await session.commit()
        [job] = (await app.job_manager.list_jobs_async()).jobs
        assert (job.id, job.queue) == (kept, "mail")
    wrong: Any = "a session"
    with pytest.raises(InvalidDatabase):
        Deferring(wrong)


async def test_tasks_find_what_the_own_lifespan_has_opened(database_url: str) -> None:
    app = App(database_url)
    happened: list[str] = []

    @app.task(name="look")
    async def look() -> None:
        happened.append("ran")

    @asynccontextmanager
    async def own(web: object) -> AsyncIterator[dict[str, str]]:
        happened.append("opened")
        yield {"shop": "ours"}
        happened.append("closed")

    app.telemetry.subscribe(WorkerStopped, lambda event: happened.append("worker stopped"))
    around = lifespan(app, worker=True, inner=own)
    async with around(None) as state:
        assert state == {"shop": "ours"}
        await app.job_manager.wait_for_job_async(await look.defer_async(), timeout=20)
    assert happened == ["opened", "ran", "worker stopped", "closed"]


async def test_a_server_does_not_start_with_a_worker_that_cannot(bare_url: str) -> None:
    async def begin() -> None:
        async with lifespan(App(bare_url), worker=True)(None):
            pytest.fail("it began")

    with pytest.raises(SchemaNotApplied):
        await begin()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 2}, "and no worker: say worker=True"),
        ({"worker": True, "install_signal_handlers": True}, "signals are the server's"),
        ({"worker": True, "wait": False}, "has no place in a server"),
        ({"worker": True, "concurrency": 0}, "concurrency=0 makes no sense"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_once(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidOption, match=message):
        lifespan(App("postgresql://nobody@nowhere/none"), **options)


# The example, by uvicorn


@contextmanager
def running_example(database_url: str) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    environ = {**os.environ, URL_VARIABLE: database_url, "WORKER": "1"}
    subprocess.run([sys.executable, "-m", "shop.install"], cwd=EXAMPLE, env=environ, check=True)
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "shop.web:web", "--host=127.0.0.1", "--port=0"],
        cwd=EXAMPLE,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stderr
        for line in server.stderr:
            if found := re.search(r"running on (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            pytest.fail("uvicorn did not start")
        with httpx.Client(base_url=found[1], timeout=20) as client:
            yield server, client
    finally:
        server.kill()
        server.communicate()


@pytest.mark.slow
def test_jobs_that_run_when_the_server_gets_sigterm_finish_or_are_run_again(
    database_url: str,
) -> None:
    app = App(database_url)
    with app, running_example(database_url) as (server, client):

        def place(to: str, seconds: float) -> int:
            new = {"to": to, "seconds_to_pack": seconds}
            return int(client.post("/orders", json=new).raise_for_status().json()["job_id"])

        finishes, aborted = place("ada", 3), place("bob", 600)
        deadline = time.monotonic() + 30
        while any(
            app.job_manager.get_job(job_id).status is not JobStatus.DOING
            for job_id in (finishes, aborted)
        ):
            assert time.monotonic() < deadline
        later = app.configure_task("shop.tasks.pack", schedule_in={"days": 1}).defer(order_id=1)
        assert client.get("/jobs/").status_code == 200
        server.send_signal(signal.SIGTERM)
        # It raises the signal once more when all is done.
        assert server.wait(timeout=60) in {0, -signal.SIGTERM}

        manager = app.job_manager
        assert manager.get_job_status(finishes) is JobStatus.SUCCEEDED
        # What it deferred when it finished no worker was left to take.
        [shipping] = manager.list_jobs(task="shop.tasks.ship").jobs
        assert shipping.status is JobStatus.TODO
        job = manager.get_job(aborted)
        assert (job.status, job.attempt) == (JobStatus.TODO, 1)
        assert "JobAborted" in manager.list_failed_attempts(aborted)[0].error_type
        assert manager.get_job_status(later) is JobStatus.TODO
        receipts = manager.list_jobs(task="shop.tasks.send_receipt").jobs
        assert [receipt.status for receipt in receipts] == [JobStatus.SUCCEEDED] * 2
        assert manager.list_workers() == []


@pytest.mark.slow
def test_the_tests_of_the_example_pass(database_url: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:asyncio",
            "-p",
            "no:cacheprovider",
            f"--taskq-database-url={database_url}",
            f"--basetemp={tmp_path}",
        ],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "3 passed" in run.stdout
