"""Rows of rubbish in every table: no worker dies of them, and no terminal and no page obeys them."""

import asyncio
import re
from collections import Counter
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App, JobStatus
from taskq.contrib.dashboard import Access, Dashboard
from tests.cli.conftest import OnATerminal, Taskq, environment, on_a_terminal, taskq
from tests.rubbish import strategies
from tests.rubbish.conftest import drain, examples
from tests.rubbish.lines import check_lines
from tests.rubbish.pages import check_page
from tests.rubbish.rows import BESIDE, insert, rows_of, tables_of

__all__ = ["environment", "on_a_terminal", "taskq"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

HERE = "http://testserver"

COMMANDS = [
    ["jobs", "list"],
    ["queues", "list"],
    ["tasks", "list", "--app", "tests.cli.shop:app"],
    ["workers", "list"],
    ["locks", "list"],
    ["limits", "list"],
    ["events", "list"],
    ["periodic", "list", "--app", "tests.cli.shop:app"],
    ["watch", "--once", "--interval", "0.1"],
    ["doctor"],
]
PAGES = ["/", "/jobs", "/tasks", "/queues", "/workers", "/periodic", "/metrics"]


def fill(connection: psycopg.Connection, data: st.DataObject, number: int = 4) -> Counter[str]:
    """Put so many rows of rubbish into each table, and count those that it has taken."""
    tables = tables_of(connection)
    connection.execute(f"TRUNCATE {', '.join(tables)} CASCADE".encode())
    each = {name: strategies.several(rows_of(columns), number) for name, columns in tables.items()}
    rows = data.draw(st.fixed_dictionaries(each).map(lambda of: strategies.Several(of.items())))
    # First those that others refer to.
    return Counter(
        table
        for table, those in sorted(rows, key=lambda of: of[0] != "taskq_jobs")
        for row in those
        if insert(connection, table, row)
    )


def ids_of(connection: psycopg.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT id FROM taskq_jobs LIMIT 2").fetchall()]


def test_a_worker_runs_what_is_beside_them(app: App, connection: psycopg.Connection) -> None:
    taken: Counter[str] = Counter()

    @app.task(name="fine")
    def fine(**values: Any) -> None: ...

    @examples(8)
    @given(st.data())
    def each(data: st.DataObject) -> None:
        taken.update(fill(connection, data))
        beside = [fine.configure(queue=BESIDE, lock=lock).defer() for lock in (None, "b", "b")]
        drain(app)
        jobs = [app.job_manager.get_job(job_id) for job_id in beside]
        assert [(job.status, job.attempt) for job in jobs] == [(JobStatus.SUCCEEDED, 1)] * 3
        running = connection.execute("SELECT id FROM taskq_jobs WHERE status = 'doing'").fetchall()
        assert running == []

    each()
    assert taken.keys() == tables_of(connection).keys(), "a table that has taken no row"
    print(taken)


@examples(6)
@given(st.data())
def test_no_command_shows_them_raw(
    taskq: Taskq, connection: psycopg.Connection, data: st.DataObject
) -> None:
    fill(connection, data)
    jobs = ids_of(connection)
    for command in [*COMMANDS, *(["jobs", "show", "--", str(job_id)] for job_id in jobs)]:
        said = taskq(*command)
        assert said.exit_code == 0 or command == ["doctor"], (command, said.stderr)
        assert said.exception is None or isinstance(said.exception, SystemExit), command
        check_lines(said.stdout)
        check_lines(said.stderr)


def test_nor_does_one_on_a_terminal(
    on_a_terminal: OnATerminal, connection: psycopg.Connection
) -> None:
    for number, text in enumerate(filter(None, strategies.HOSTILE)):
        connection.execute(
            "INSERT INTO taskq_jobs (task_name, queue_name, lock, args, metadata, tags) "
            "VALUES (%s, %s, %s, jsonb_build_object(%s::text, %s::text), jsonb_build_object('a', %s::text), "
            "ARRAY[%s])",
            [text] * 7,
        )
        connection.execute(
            "INSERT INTO taskq_workers (id, name, host, version) VALUES (%s, %s, %s, %s)",
            [number, text, text, text],
        )
    for command in [
        *COMMANDS[:4],
        ["watch", "--once", "--interval", "0.1"],
        ["jobs", "show", "2"],
    ]:
        for columns in ("80", "300"):
            shown, said = on_a_terminal(
                *command, env={"COLUMNS": columns, "TERM": "xterm-256color"}
            )
            check_lines(re.sub(r"\x1b\[\d*[A-Z]|\r", "", shown))
            check_lines(said)


@examples(6)
@given(st.data())
def test_no_page_obeys_them(app: App, connection: psycopg.Connection, data: st.DataObject) -> None:
    fill(connection, data)
    jobs = ids_of(connection)
    dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
    pages = [*PAGES, *(f"/jobs/{job_id}" for job_id in jobs)]
    pages += [f"/jobs/change?do=delete&id={job_id}" for job_id in jobs]
    pages += [f"/defer?like={job_id}" for job_id in jobs]

    async def look() -> None:
        transport = httpx.ASGITransport(dashboard)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            for page in pages:
                answer = await client.get(page)
                assert answer.status_code == 200, (page, re.findall("<h1.*|<p.*", answer.text))
                if page != "/metrics":
                    check_page(answer.text)

    asyncio.run(look())
