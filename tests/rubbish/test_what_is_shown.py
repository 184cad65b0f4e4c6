"""What logs, errors and lists show of arguments: nothing of encrypted ones, of others where people ask."""

import asyncio
import logging
from typing import Any

import httpx
import psycopg
import pytest

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from taskq.encryption import generate_key
from taskq.exceptions import InvalidArguments
from tests.cli.conftest import Taskq, environment, taskq
from tests.rubbish.conftest import drain

__all__ = ["environment", "taskq"]

SECRET = "correct horse battery staple"  # noqa: S105 - it is what must not be seen


def declare(app: App, *, encrypted: bool) -> None:
    @app.task(name="succeed", encrypted=encrypted, store_result=True)
    def succeed(text: str) -> str:
        return text

    @app.task(name="fail", encrypted=encrypted, retry=1)
    def fail(text: str) -> None:
        raise ValueError(text if encrypted else "no")

    @app.task(name="slow", encrypted=encrypted, timeout=0.01)
    async def slow(text: str) -> None:
        await asyncio.sleep(60)


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    shown = logging.Formatter("%(message)s").format
    return "\n".join(f"{shown(record)} {vars(record)}" for record in caplog.records)


def run_all(app: App, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "taskq"):
        for name in ("succeed", "fail", "slow"):
            app.configure_task(name, tags=["a"]).defer(text=SECRET)
        app.configure_task("nobodys", allow_unknown=True).defer(text="another")
        drain(app)
    assert "failed" in caplog.text


def test_the_log_shows_no_argument_that_nothing_is_wrong_with(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    declare(app, encrypted=False)
    run_all(app, caplog)
    assert SECRET not in everything_logged(caplog)
    # An argument that does not fit is quoted to whoever passes it, and to whoever looks why a job failed.
    wrong: Any = app.tasks["succeed"]
    with pytest.raises(InvalidArguments, match=SECRET):
        wrong.defer(text=[SECRET])


def test_nothing_shows_an_argument_of_an_encrypted_job(
    database_url: str,
    taskq: Taskq,
    caplog: pytest.LogCaptureFixture,
    connection: psycopg.Connection,
) -> None:
    with App(database_url, encryption_keys=[generate_key()]) as app:
        declare(app, encrypted=True)
        run_all(app, caplog)
        assert SECRET not in everything_logged(caplog)
        with pytest.raises(InvalidArguments) as refused:
            app.configure_task("succeed").defer(text=[SECRET])
        assert SECRET not in str(refused.value)

        pages = asyncio.run(all_pages(app))
    commands = [["jobs", "list"], ["jobs", "list", "--json"], ["tasks", "list", "--json"]]
    commands += [["jobs", "show", str(n)] for n in (1, 2, 3)]
    commands += [["jobs", "show", str(n), "--json"] for n in (1, 2, 3)]
    for command in commands:
        said = taskq(*command)
        assert SECRET not in said.output, command
    for address, text in pages.items():
        assert SECRET not in text, address
    tables = connection.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'taskq_%'"
    ).fetchall()
    for (table,) in tables:
        rows = connection.execute(f"SELECT row.*::text FROM {table} AS row".encode()).fetchall()
        assert SECRET not in str(rows), table


async def all_pages(app: App) -> dict[str, str]:
    transport = httpx.ASGITransport(Dashboard(app, authorize=lambda request: Access.OPERATE))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        addresses = ["/", "/jobs", "/tasks", "/queues", "/workers", "/jobs?error=value"]
        addresses += [f"/jobs/{n}" for n in (1, 2, 3)] + [f"/defer?like={n}" for n in (1, 2, 3)]
        return {address: (await client.get(address)).text for address in addresses}
