"""The example project, with Django's own server, its own tests, and a worker."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psycopg
import pytest

PROJECT = Path(__file__).parents[3] / "examples" / "django"

# Some seconds each: the interpreter is started several times.
pytestmark = pytest.mark.slow


@pytest.fixture
def environ(connection: psycopg.Connection) -> Iterator[dict[str, str]]:
    """What names the databases of the example: the test's own, and one beside it."""
    info = connection.info
    connection.execute(f'CREATE DATABASE "{info.dbname}_reports"'.encode())
    named = {
        "PGHOST": info.host,
        "PGPORT": str(info.port),
        "PGUSER": info.user,
        "PGPASSWORD": info.password,
        "PGDATABASE": info.dbname,
    }
    ours = {"DJANGO_SETTINGS_MODULE", "PYTHONPATH"}
    others = {name: value for name, value in os.environ.items() if name not in ours}
    yield {**others, **named, "PYTHONUNBUFFERED": "1"}
    connection.execute(f'DROP DATABASE "{info.dbname}_reports" WITH (FORCE)'.encode())


def manage(environ: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def running(environ: dict[str, str], *arguments: str) -> Iterator[None]:
    """A command that runs until the end of the block, and ends as asked."""
    command = [sys.executable, "manage.py", *arguments]
    process = subprocess.Popen(command, cwd=PROJECT, env=environ)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def ask(url: str, form: dict[str, str] | None = None) -> tuple[int, Any]:
    data = None if form is None else urlencode(form).encode()
    try:
        with urlopen(url, data, timeout=10) as answer:  # noqa: S310 - this machine's own
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def wait_for(condition: Any, what: str) -> Any:
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not come about"
        time.sleep(0.05)
    return found


def is_listening(port: int) -> bool:
    try:
        ask(f"http://127.0.0.1:{port}/orders/0/")
    except (URLError, ValueError):
        return "refused" not in str(sys.exc_info()[1])
    return True


def test_the_tests_of_the_example_pass(environ: dict[str, str]) -> None:
    assert "OK" in manage(environ, "test", "--noinput")


def test_the_example_is_well_and_takes_pays_and_refuses_orders(environ: dict[str, str]) -> None:
    assert "Applied" not in manage(environ, "migrate"), "the test's database has the schema"
    assert "Applied 0001_pre_tables" in manage(environ, "migrate", "--database", "reports")
    assert "no issues" in manage(environ, "check", "--database", "default")
    assert "No changes" in manage(environ, "makemigrations", "--check", "--dry-run")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    serve = running(environ, "runserver", "--noreload", f"127.0.0.1:{port}")
    with serve, running(environ, "taskq", "worker"):
        wait_for(lambda: is_listening(port), "the server")
        shop = f"http://127.0.0.1:{port}/orders/"
        status, order = ask(shop, {"email": "ada@example.org"})
        assert status == 201
        written = wait_for(lambda: ask(f"{shop}{order['order']}/")[1]["receipt"], "the receipt")
        assert written == "Thank you, ada@example.org"
        assert ask(shop, {"email": "eve@example.com"})[0] == 400
    jobs = json.loads(manage(environ, "taskq", "jobs", "list", "--json"))
    assert [job["status"] for job in jobs] == ["succeeded", "succeeded"]
