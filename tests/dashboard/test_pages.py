"""What the pages show, also of what is made up, and where they lead to behind a prefix."""

import json
import re
import sys
from collections.abc import Mapping
from html import unescape

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from tests.conftest import Spoil
from tests.dashboard import shop
from tests.dashboard.conftest import FROM_PAGE, Browse, text_of
from tests.sql.crowds import insert

MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{% raw %}"


async def everywhere(client: httpx.AsyncClient, job: int) -> Mapping[str, str]:
    """Each page that shows something of a job."""
    pages = {}
    for address in (
        "/",
        "/jobs",
        f"/jobs/{job}",
        "/tasks",
        "/queues",
        "/workers",
        f"/defer?like={job}",
        f"/jobs/change?do=delete&id={job}",
    ):
        answer = await client.get(address)
        assert answer.status_code == 200, address
        pages[address] = answer.text
    return pages


async def test_nothing_of_a_job_is_ever_markup(
    client: httpx.AsyncClient, app: App, connection: psycopg.Connection
) -> None:
    job = await app.configure_task(
        MARKUP,
        queue=MARKUP,
        lock=MARKUP,
        queueing_lock=MARKUP,
        idempotency_key=MARKUP,
        tags=[MARKUP],
        metadata={MARKUP: MARKUP},
    ).defer_async(**{MARKUP: {MARKUP: [MARKUP]}})
    jobs = app.job_manager
    await jobs.pause_queue_async(MARKUP, by=MARKUP, reason=MARKUP)
    await jobs.pause_task_async(MARKUP, by=MARKUP, reason=MARKUP)
    connection.execute(
        "INSERT INTO taskq_workers (id, name, queue_names, host, version) VALUES (1, %s, ARRAY[%s], %s, %s)",
        [MARKUP] * 4,
    )
    connection.execute(
        "UPDATE taskq_jobs SET status = 'doing', worker_id = 1, claim = 1, started_at = now(), "
        "result = to_jsonb(%s::text), limit_key = %s, "
        "progress = jsonb_build_object('claim', 1, 'done', 1, 'message', %s::text, 'reported_at', now())",
        [MARKUP, MARKUP, MARKUP],
    )
    connection.execute(
        "INSERT INTO taskq_failed_attempts "
        "(job_id, claim, attempt, worker_id, error_type, error_message, error_traceback) "
        "VALUES (%s, 1, 1, 1, %s, %s, %s)",
        [job, MARKUP, MARKUP, MARKUP],
    )
    pages = await everywhere(client, job)
    for address, text in pages.items():
        own = re.sub(r'<script src="/static/dashboard\.js\?v=[^"]*" defer></script>', "", text)
        assert "<script" not in own, address
        assert "<img" not in own, address
        assert "49" not in re.findall(r"&#39;&amp;(\S{2})", own), address
        # It is there, as text.
        assert MARKUP in unescape(text) or address.startswith("/jobs/change"), address
    for query in ("queue", "task", "lock", "tag", "error", "args", "deferred_after", "nonsense"):
        answer = await client.get("/jobs", params={query: MARKUP})
        assert answer.status_code in {200, 400}
        assert "<img" not in answer.text
    for address in (f"/jobs/{MARKUP}", f"/{MARKUP}", f"/jobs?after={MARKUP}"):
        answer = await client.get(address)
        assert answer.status_code in {400, 404}
        assert "<img" not in answer.text


async def test_links_lead_to_the_same_names_whatever_is_in_them(
    client: httpx.AsyncClient, app: App
) -> None:
    name = "a/b?c=d&e#f %41+ü"
    job = await app.configure_task(name, queue=name, tags=[name]).defer_async()
    page = await client.get("/jobs")
    links = [unescape(link) for link in re.findall(r'href="(/jobs\?[^"]+)"', page.text)]
    assert len(links) == 3
    for link in links:
        found = await client.get(link)
        assert f'href="/jobs/{job}"' in found.text
        assert str(found.url.params[link.partition("?")[2].partition("=")[0]]) == name


PREFIXES = {
    "mounted in Starlette": lambda dashboard: Starlette(routes=[Mount("/ops/jobs", dashboard)]),
    "mounted twice": lambda dashboard: Starlette(
        routes=[Mount("/ops", Starlette(routes=[Mount("/jobs", dashboard)]))]
    ),
}


@pytest.mark.parametrize("kind", [*PREFIXES, "mounted in FastAPI", "behind a proxy"])
async def test_behind_a_prefix_each_address_has_it(app: App, kind: str) -> None:
    dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
    job = await shop.wait.configure(schedule_in={"hours": 1}).defer_async(seconds=1)
    root_path = ""
    within: ASGIApp
    if kind == "mounted in FastAPI":
        around = FastAPI()
        around.mount("/ops/jobs", dashboard)
        within = around
    elif kind == "behind a proxy":
        # As uvicorn has it: the path begins with what the proxy has taken off.
        within, root_path = dashboard, "/ops/jobs"
    else:
        within = PREFIXES[kind](dashboard)
    transport = httpx.ASGITransport(within, root_path=root_path)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=FROM_PAGE
    ) as client:
        for page in ("/", "/jobs", f"/jobs/{job}", "/tasks", "/queues", "/nowhere"):
            answer = await client.get(f"/ops/jobs{page}")
            assert answer.status_code == (404 if page == "/nowhere" else 200)
            addresses = re.findall(r'(?:href|src|action|data-live)="([^"]*)"', answer.text)
            assert addresses
            assert all(each.startswith(("/ops/jobs", "#")) for each in addresses), addresses
        answer = await client.get("/ops/jobs/static/dashboard.css")
        assert answer.headers["content-type"].startswith("text/css")
        form = {"do": "cancel", "id": job}
        answer = await client.post("/ops/jobs/jobs/change", data=form)
        assert answer.headers["location"] == f"/ops/jobs/jobs/{job}?done=cancel"


@pytest.mark.parametrize(
    "address",
    [
        "/jobs/x",
        "/jobs/1.5",
        "/jobs/0",
        "/jobs/99999999999999999999999",
        "/jobs/-1",
        "/jobs/1/live/x",
        "/nowhere",
        "/static/../application.py",
        "/static/nothing.js",
        "/defer?like=77",
    ],
)
async def test_an_address_that_leads_to_nothing_is_not_found(
    client: httpx.AsyncClient, address: str
) -> None:
    answer = await client.get(address)
    assert answer.status_code == 404
    assert "<h1>There is no" in answer.text


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ({"status": "done"}, "status"),
        ({"worker": "x"}, "is no number"),
        ({"deferred_after": "yesterday"}, "is no time"),
        ({"deferred_after": "9999999999999w"}, "longer than any calendar"),
        ({"finished_before": "2030-01-01T00:00"}, "in which time zone"),
        ({"args": "{"}, "is not JSON"),
        ({"args": "[" * 5_000}, "is not JSON"),
        ({"args": "[1]"}, "is no JSON object"),
        ({"after": "x"}, "is no id of a job"),
        ({"after": str(2**70)}, "after"),
        ({"order": "random"}, "newest or oldest"),
        ({"queue": "q" * 501}, "at most 500"),
        ({"queue": "\0"}, "NUL"),
        ({"colour": "blue"}, "cannot be filtered by"),
    ],
)
async def test_a_filter_that_makes_no_sense_is_said_beside_what_was_typed(
    client: httpx.AsyncClient, query: dict[str, str], says: str
) -> None:
    answer = await client.get("/jobs", params=query)
    assert answer.status_code == 400
    assert says in text_of(answer)
    [(name, value)] = query.items()
    if name not in {"status", "after", "order", "colour"} and len(value) < 100:
        assert value.replace('"', "&#34;") in answer.text


async def test_filters_are_in_the_address_and_pages_go_on_from_one_another(
    client: httpx.AsyncClient, connection: psycopg.Connection
) -> None:
    insert(
        connection,
        120,
        status="(CASE n % 2 WHEN 0 THEN 'failed' ELSE 'succeeded' END)::taskq_job_status",
    )
    found: list[int] = []
    link: str | None = "/jobs?status=failed&deferred_after=1h"
    while link:
        page = await client.get(link)
        found += map(int, re.findall(r'<th scope="row"><a href="/jobs/(\d+)">', page.text))
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        link = unescape(following[1]) if following else None
    assert found == list(range(120, 0, -2))
    oldest = await client.get("/jobs?status=failed&order=oldest")
    assert re.findall(r'<th scope="row"><a href="/jobs/(\d+)">', oldest.text)[0] == "2"


async def test_a_job_shows_why_it_waits_and_each_attempt(
    client: httpx.AsyncClient, app: App
) -> None:
    first = await shop.sync_stock.configure(schedule_in={"hours": 1}).defer_async()
    second = await shop.sync_stock.defer_async()
    page = text_of(await client.get(f"/jobs/{second}"))
    assert f"It is behind job {first} in its lock" in page
    job = await shop.charge.defer_async(account="acme", cents=5)
    await app.run_worker_async(wait=False, queues=["payments"])
    page = text_of(await client.get(f"/jobs/{job}"))
    assert "Attempt 1 failed" in page
    assert "ConnectionError the bank of acme does not answer" in page
    assert "Traceback (most recent call last):" in page
    assert "tenant:acme" in page


async def test_a_value_that_is_too_much_is_shown_in_part(
    client: httpx.AsyncClient, app: App
) -> None:
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    job = await app.configure_task("anything").defer_async(
        many=list(range(50_000)), long="x" * 1_000_000, deep=deep
    )
    page = await client.get(f"/jobs/{job}")
    assert len(page.text) < 100_000
    for part in ("more", "998,000 characters more", "too deep to show"):
        assert part in text_of(page)
    assert len((await client.get("/jobs")).text) < 30_000


async def test_what_python_cannot_read_of_a_row_is_shown_as_it_is(
    client: httpx.AsyncClient, spoil: Spoil
) -> None:
    job = await shop.wait.defer_async(seconds=1)
    spoil(job, deferred_at="infinity", args=json.dumps({"a": 1}))
    for page in (f"/jobs/{job}", "/jobs", f"/defer?like={job}"):
        assert (await client.get(page)).status_code == 200
    assert "unreadable: infinity" in text_of(await client.get(f"/jobs/{job}"))


@pytest.mark.parametrize("key", ["", ":", ":acme", "n" * 600])
async def test_a_limit_that_no_job_could_be_deferred_with_is_shown(
    client: httpx.AsyncClient, spoil: Spoil, key: str
) -> None:
    job = await shop.wait.defer_async(seconds=1)
    spoil(job, limit_key=key)
    assert (await client.get(f"/jobs/{job}")).status_code == 200


async def test_the_overview_counts_what_there_is(
    client: httpx.AsyncClient, app: App, connection: psycopg.Connection
) -> None:
    insert(connection, 7, queue="'mail'")
    insert(
        connection,
        3,
        queue="'mail'",
        status="'failed'",
        started_at="now() - interval '2 s'",
        finished_at="now()",
    )
    page = text_of(await client.get("/"))
    assert "Waiting 7" in page
    assert "Failed 3" in page
    assert "Ended in an hour 3" in page
    assert "In the last hour 3 jobs ended, of which 3 failed" in (await client.get("/")).text
    # What the doctor says of a queue without a worker.
    assert "mail 7 0 3" in page
    assert "none" in page


async def test_style_and_script_are_kept_by_browsers_until_they_change(
    client: httpx.AsyncClient,
) -> None:
    page = await client.get("/")
    assert page.headers["cache-control"] == "no-store"
    [style] = re.findall(r'href="(/static/[^"]+\.css[^"]*)"', page.text)
    assert re.search(r"\?v=[0-9a-f]{12}$", style)
    assert "immutable" in (await client.get(style)).headers["cache-control"]


async def test_a_database_that_is_away_is_said_so_and_the_page_comes_back(
    client: httpx.AsyncClient, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = str(app.database.async_engine.url.query["host"])
    with app.replace_database("postgresql://nobody@127.0.0.1:9/nothing"):
        for page in ("/", "/jobs", "/jobs/1", "/tasks", "/queues", "/workers", "/periodic"):
            answer = await client.get(page)
            assert answer.status_code == 503, page
            assert answer.headers["refresh"] == "5"
            assert "The database is away" in text_of(answer)
            assert "Traceback" not in answer.text
    assert there
    assert (await client.get("/jobs")).status_code == 200


async def test_metrics_are_there_for_those_who_may_look(browse: Browse) -> None:
    page = await browse(Access.READ).get("/metrics")
    assert (page.status_code, page.headers["content-type"].split(";")[0]) == (200, "text/plain")
    assert "taskq_database_up 1.0" in page.text
    assert (await browse(Access.NONE).get("/metrics")).status_code == 403


async def test_without_the_extra_for_metrics_the_page_says_so(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("taskq.contrib.prometheus")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    page = await client.get("/metrics")
    assert page.status_code == 501
    assert "pip install 'taskq-sql[prometheus]'" in text_of(page)
