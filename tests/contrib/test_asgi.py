"""An app within an ASGI application: its worker, its example, and how both end with the server."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from litestar import Litestar
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from starlette.applications import Starlette

from taskq import App, JobStatus
from taskq.contrib.asgi import InTransaction, lifespan
from taskq.exceptions import InvalidOption, SchemaNotApplied
from tests.contrib.conftest import until

EXAMPLE = Path(__file__).parents[2] / "examples" / "fastapi"


async def test_a_worker_runs_for_as_long_as_the_application(app: App) -> None:
    ran = asyncio.Event()

    @app.task(name="noop")
    async def noop() -> None:
        ran.set()

    async with lifespan(app, worker=True, name="beside the web")(None):
        await noop.defer_async()
        await asyncio.wait_for(ran.wait(), 15)
        [worker] = await app.job_manager.list_workers_async()
        assert worker.name == "beside the web"
    assert await app.job_manager.list_workers_async() == []


async def test_jobs_that_run_are_finished_when_the_application_ends(app: App) -> None:
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.task(name="slow")
    async def slow() -> None:
        began.set()
        await go_on.wait()

    async with lifespan(app, worker=True)(None):
        first, second = await slow.defer_async(), await slow.configure(lock="l").defer_async()
        await asyncio.wait_for(began.wait(), 15)
        asyncio.get_running_loop().call_later(0.1, go_on.set)
    assert await app.job_manager.get_job_status_async(first) is JobStatus.SUCCEEDED
    assert await app.job_manager.get_job_status_async(second) in (
        JobStatus.SUCCEEDED,
        JobStatus.TODO,
    )


async def test_without_a_worker_jobs_are_deferred_alone(app: App) -> None:
    @app.task(name="noop")
    async def noop() -> None: ...

    async with lifespan(app)(None):
        await noop.defer_async()
        assert await app.job_manager.list_workers_async() == []


async def test_a_worker_that_cannot_start_keeps_the_application_from_starting(app: App) -> None:
    await app.schema_manager.remove_async()
    with pytest.raises(SchemaNotApplied):
        async with lifespan(app, worker=True)(None):
            pytest.fail("it has started")


async def test_a_lifespan_of_the_application_is_entered_within(app: App) -> None:
    seen = []

    @asynccontextmanager
    async def own(web: str) -> AsyncIterator[dict[str, int]]:
        seen.append(f"{web} begins beside {len(await app.job_manager.list_workers_async())}")
        yield {"answer": 42}
        seen.append(f"ends beside {len(await app.job_manager.list_workers_async())}")

    async with lifespan(app, worker=True, within=own)("web") as state:
        assert state == {"answer": 42}
    assert seen == ["web begins beside 1", "ends beside 1"]


def test_options_that_no_worker_can_have_are_refused_where_they_are_said(app: App) -> None:
    with pytest.raises(InvalidOption, match="concurrency"):
        lifespan(app, worker=True, concurrency=0)
    with pytest.raises(InvalidOption, match="give worker=True"):
        lifespan(app, concurrency=3)


@pytest.mark.parametrize("framework", ["starlette", "litestar"])
async def test_starlette_and_litestar_take_it_as_it_is(app: App, framework: str) -> None:
    web = (
        Starlette(lifespan=lifespan(app, worker=True))
        if framework == "starlette"
        else Litestar(lifespan=[lifespan(app, worker=True)], logging_config=None)
    )
    sent: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    received: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    serving = asyncio.create_task(web(scope, received.get, sent.put))  # type: ignore[arg-type]
    await received.put({"type": "lifespan.startup"})
    assert (await asyncio.wait_for(sent.get(), 15))["type"] == "lifespan.startup.complete"
    assert len(await app.job_manager.list_workers_async()) == 1
    await received.put({"type": "lifespan.shutdown"})
    assert (await asyncio.wait_for(sent.get(), 15))["type"] == "lifespan.shutdown.complete"
    await serving
    assert await app.job_manager.list_workers_async() == []


async def test_what_defers_in_a_transaction_leaves_nothing_when_that_rolls_back(
    app: App, database_url: str
) -> None:
    @app.task(name="noop")
    async def noop() -> None: ...

    engine = create_async_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    async with AsyncSession(engine) as session:
        await InTransaction(session)(noop, priority=1).defer_async()
        await session.rollback()
        job_id = await InTransaction(session)(noop, priority=2).defer_async()
        await session.commit()
    await engine.dispose()
    [job] = await app.job_manager.list_jobs_async()
    assert (job.id, job.priority) == (job_id, 2)


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Path:
    """A copy of the example, away from the checkout."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "shop"))


@pytest.fixture
def environment(database_url: str) -> dict[str, str]:
    """What the page of the example says to export, and a worker in the server."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    exported = re.findall(r"^export (\w+)=", (EXAMPLE / "README.md").read_text(), re.MULTILINE)
    return os.environ | dict.fromkeys(exported, url) | {"SHOP_WORKER": "1"}


@pytest.fixture
def served(
    shop: Path, environment: dict[str, str]
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The example, served by uvicorn in a process of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "shop.web:web", "--fd", str(listening.fileno())]
        server = subprocess.Popen(
            command,
            cwd=shop,
            env=environment,
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
        )
        try:
            yield f"http://127.0.0.1:{port}", server
        finally:
            server.kill()
            server.communicate()


async def test_the_example_serves_and_ends_with_its_jobs(
    app: App, served: tuple[str, subprocess.Popen[bytes]]
) -> None:
    url, server = served
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.post("/orders", params={"customer": "nobody"})).status_code == 422
        answer = await client.post("/orders", params={"customer": "ada@example.org"})
        job_id = answer.json()["job_id"]
        assert "send_receipt" in (await client.get("/jobs/jobs")).text

        async def status() -> str:
            found: str = (await client.get(f"/receipts/{job_id}")).json()["status"]
            return found

        deadline = time.monotonic() + 15
        while await status() != "doing":
            assert time.monotonic() < deadline
    server.send_signal(signal.SIGTERM)
    await until(lambda: server.poll() is not None, "a server that has ended", 20)
    job = await app.job_manager.get_job_async(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    # The order that was refused has left no job.
    assert [each.id for each in await app.job_manager.list_jobs_async()] == [job_id]


def test_the_tests_of_the_example_pass(shop: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    done = subprocess.run(
        command,
        cwd=shop,
        env=environment | {"SHOP_WORKER": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
