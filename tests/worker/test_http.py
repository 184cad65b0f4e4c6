"""What a worker answers by HTTP: probes, metrics, and requests that are none."""

import asyncio
import contextlib
import gc
import http.client
import re
import socket
import sys
import threading
import time
from http import HTTPStatus
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from taskq import App, Worker
from taskq.exceptions import InvalidOption
from taskq.telemetry import Telemetry
from taskq.worker.http.address import HttpAddress
from taskq.worker.http.request import Answer
from taskq.worker.http.server import HttpServer
from tests.worker.conftest import Drain, Start, services_of, until

Said = tuple[int, str]


def get(worker: Worker, path: str, method: str = "GET") -> Said:
    """What is answered: the status, and the page."""
    assert worker.http_address
    connection = http.client.HTTPConnection(*worker.http_address, timeout=15)
    with contextlib.closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


async def ask(worker: Worker, path: str, method: str = "GET") -> Said:
    return await asyncio.to_thread(get, worker, path, method)


def raw(worker: Worker, request: bytes) -> bytes:
    """What comes back for some bytes."""
    assert worker.http_address
    with socket.create_connection(worker.http_address, timeout=15) as client:
        with contextlib.suppress(OSError):  # answered before all was sent
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
        return received


async def test_a_worker_that_runs_is_alive_and_ready_and_has_metrics(
    app: App, start: Start
) -> None:
    worker = await start(app, http=0)
    assert worker.http_address
    assert worker.http_address[0] == "127.0.0.1"
    assert await ask(worker, "/livez") == (200, "ok\n")
    assert await ask(worker, "/readyz?verbose=1") == (200, "ok\n")
    status, text = await ask(worker, "/metrics")
    assert status == 200
    assert "\ntaskq_worker_slots 1.0\n" in text
    assert "\ntaskq_database_up 1.0\n" in text


async def test_what_it_runs_before_the_first_scrape_is_counted(app: App, start: Start) -> None:
    done = asyncio.Event()

    @app.task(name="noop")
    async def noop() -> None:
        done.set()

    await noop.defer_async()
    worker = await start(app, http="127.0.0.1:0")
    await done.wait()
    await until(lambda: not worker.running_jobs, "the end of the job")
    _, text = await ask(worker, "/metrics")
    assert 'taskq_jobs_ended_total{queue="default",status="succeeded",task="noop"} 1.0' in text


async def test_a_worker_that_stops_is_alive_and_not_ready_and_then_gone(
    app: App, start: Start
) -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()

    @app.task(name="wait")
    async def wait() -> None:
        begun.set()
        await go_on.wait()

    await wait.defer_async()
    worker = await start(app, http=0)
    address = worker.http_address
    assert address
    await begun.wait()
    worker.stop()
    await until(worker._stopping.is_set, "the stop")
    assert await ask(worker, "/livez") == (200, "ok\n")
    assert await ask(worker, "/readyz") == (503, "it stops\n")
    go_on.set()
    await until(lambda: worker.http_address is None, "the end of the worker")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)


async def test_a_worker_without_a_database_is_alive_and_not_ready_until_it_is_back(
    app: App, start: Start, database_url: str, connection: psycopg.Connection
) -> None:
    worker = await start(app, http=0)
    own = connection.info.backend_pid
    with psycopg.connect(
        database_url.replace("+psycopg", ""), dbname="postgres", autocommit=True
    ) as server:
        name = make_url(database_url).database
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'.encode())
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> %s",
            [name, own],
        )
        await until(lambda: get(worker, "/readyz")[0] == 503, "a worker that is not ready")
        _, why = await ask(worker, "/readyz")
        assert why.startswith(("the database does not answer: ", "its heartbeat does not reach"))
        assert await ask(worker, "/livez") == (200, "ok\n")
        status, text = await ask(worker, "/metrics")
        assert (status, "\ntaskq_database_up 0.0\n" in text) == (200, True)
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'.encode())
    await until(lambda: get(worker, "/readyz")[0] == 200, "a worker that is ready again")


async def test_a_worker_whose_event_loop_is_blocked_for_too_long_is_not_alive(
    app: App, start: Start
) -> None:
    unblock = threading.Event()
    found: dict[str, list[Said]] = {"early": [], "late": []}

    @app.task(name="hog")
    async def hog() -> None:
        unblock.wait(20)

    worker = await start(app, http=0, blocked_loop_timeout=2.5)

    def watch() -> None:
        while not services_of(worker)._monitor.blocked_for:
            time.sleep(0.01)
        # Its own thread answers meanwhile; and for a moment a task may do that.
        found["early"] = [get(worker, page) for page in ("/livez", "/readyz")]
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and get(worker, "/livez")[0] == 200:
            time.sleep(0.05)
        found["late"] = [get(worker, page) for page in ("/livez", "/readyz")]
        unblock.set()

    watching = threading.Thread(target=watch)
    watching.start()
    await hog.defer_async()
    await asyncio.to_thread(watching.join)
    assert found["early"] == [(200, "ok\n")] * 2
    why = "its event loop has not turned for longer than blocked_loop_timeout=2.5 s\n"
    assert found["late"] == [(503, why)] * 2
    await until(lambda: get(worker, "/livez")[0] == 200, "a worker that is alive again")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /nowhere HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET * HTTP/1.1\r\n\r\n", 404),
        (b"GET /livez HTTP/1.0\r\n\r\n", 200),
        (b"GET /livez HTTP/1.1\nHost: x\n\n", 200),
        (b"GET http://127.0.0.1/livez HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"POST /livez HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        (b"BREW /livez HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 400),
        (b"GET /livez\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1", 400),
        (b"GET /livez FTP/1.1\r\n\r\n", 400),
        (b"G(T /livez HTTP/1.1\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 400),
        (b"\x00\xff" * 2_000, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X: x\r\n" * 5_000 + b"\r\n", 431),
    ],
)
async def test_each_request_gets_its_status_and_never_a_traceback(
    app: App, start: Start, request_: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await start(app, http=0)
    answer = await asyncio.to_thread(raw, worker, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Traceback" not in answer
    assert (b"\r\nAllow: GET, HEAD\r\n" in answer) == (status == 405)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(re.findall(rb"Content-Length: (\d+)", head)[0]) == len(body) > 0
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_head_request_gets_the_head_alone(app: App, start: Start) -> None:
    worker = await start(app, http=0)
    answer = await asyncio.to_thread(raw, worker, b"HEAD /livez HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 3\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_clients_that_say_nothing_keep_no_one_waiting_and_no_worker_from_stopping(
    app: App, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await start(app, http=0)
    assert worker.http_address
    with contextlib.ExitStack() as open_:
        for _ in range(60):
            open_.enter_context(socket.create_connection(worker.http_address))
        assert await ask(worker, "/livez") == (200, "ok\n")
        worker.stop()
        await until(lambda: worker.http_address is None, "the end of the worker", seconds=8)
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_a_long_page_comes_whole_also_to_a_slow_client() -> None:
    page = b"x" * 8_000_000
    server = HttpServer(
        HttpAddress("127.0.0.1", 0),
        {"/long": lambda: Answer(HTTPStatus.OK, page)},
        telemetry=Telemetry(),
    )
    server.start(lambda error: None)

    def read() -> bytes:
        with socket.create_connection(server.address, timeout=15) as client:
            client.sendall(b"GET /long HTTP/1.1\r\n\r\n")
            # Longer than it lingers for what is sent too much.
            time.sleep(1)
            received = b""
            while chunk := client.recv(1_000_000):
                received += chunk
        return received

    try:
        answer = await asyncio.to_thread(read)
    finally:
        await server.stop()
    assert answer.partition(b"\r\n\r\n")[2] == page


async def test_a_page_that_fails_says_so_and_the_log_says_why(
    app: App, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: object) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("taskq.worker.worker.Worker.why_not_ready", fail)
    worker = await start(app, http=0)
    assert await ask(worker, "/readyz") == (500, "this failed; the worker's log says why\n")
    [logged] = [record for record in caplog.records if record.exc_info]
    assert "a bug" in str(logged.exc_info)


async def test_without_the_extra_the_probes_work_and_the_page_says_what_to_install(
    app: App, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("taskq.contrib.prometheus")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    worker = await start(app, http=0)
    assert await ask(worker, "/livez") == await ask(worker, "/readyz") == (200, "ok\n")
    status, text = await ask(worker, "/metrics")
    assert status == 501
    assert "pip install 'taskq-sql[prometheus]'" in text


async def test_an_address_that_cannot_be_had_is_refused_when_the_worker_starts(
    app: App, drain: Drain, start: Start
) -> None:
    worker = await start(app, http=0)
    assert worker.http_address
    _, port = worker.http_address
    with pytest.raises(InvalidOption, match=rf"http='127.0.0.1:{port}' cannot be listened on: "):
        await drain(app, http=port)
    with pytest.raises(InvalidOption, match="cannot be listened on"):
        await drain(app, http="203.0.113.1:0")
    # Once more by the name of the machine.
    await drain(app, http="localhost:0")


@pytest.mark.parametrize(
    "wrong",
    [" ", "9090x", "70000", "a b:1", ":9090", "::1:9090", "[::1]", "[x]:1", True, 1.5, -1],
)
def test_what_is_no_address_is_refused_with_what_is(app: App, wrong: object) -> None:
    with pytest.raises(InvalidOption, match=r"http=.* makes no sense"):
        app.worker(http=wrong)  # type: ignore[arg-type]


async def test_a_worker_that_is_not_asked_for_it_opens_no_port(app: App, start: Start) -> None:
    worker = await start(app)
    assert worker.http_address is None
    assert not any(thread.name == "taskq HttpServer" for thread in threading.enumerate())
