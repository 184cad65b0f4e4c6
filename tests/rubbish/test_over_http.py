"""What a browser or a program sends to the dashboard is done as it was said, or refused on a page that is the
dashboard's own; it never is a fault of the server's."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from tests.dashboard import shop
from tests.dashboard.conftest import FROM_PAGE, HERE
from tests.rubbish import strategies
from tests.rubbish.conftest import count, examples
from tests.rubbish.pages import check_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

sent = (
    strategies.any_texts
    | strategies.values.map(strategies.as_json)
    | st.sampled_from(
        ["9" * 5_000, "-1", "1e400", "NaN", "0", "2030-01-01", "1h" * 99, "on", "\u0661"]
    )
)

_LONGEST_ADDRESS = 50_000  # as servers have it

PAGES: Mapping[str, list[str]] = {
    "/": ["done", "what", "nonsense"],
    "/jobs": [
        *(
            "queue",
            "task",
            "lock",
            "queueing_lock",
            "limit_key",
            "error",
            "status",
            "tag",
            "worker",
        ),
        *("deferred_after", "finished_before", "args", "after", "before", "newest", "nonsense"),
    ],
    "/jobs/change": ["do", "id", "ids", "queue", "all", "priority", "in", "at"],
    "/defer": ["task", "like", "done"],
    "/tasks": ["q", "done", "what"],
    "/queues": ["done", "what"],
    "/workers": ["after"],
    "/periodic": ["done", "what"],
}
FORMS: Mapping[str, list[str]] = {
    "/jobs/change": ["do", "id", "all", "queue", "task", "status", "at", "in", "priority", "abort"],
    "/jobs/1/again": ["nonsense"],
    "/defer": [
        *("task", "arguments", "queue", "priority", "lock", "queueing_lock", "at", "in", "tags"),
        *(
            "metadata",
            "idempotency_key",
            "limit_key",
            "arg:seconds",
            "arg:to",
            "arg:order",
            "arg:copy",
        ),
    ],
    "/tasks/pause": ["do", "name", "reason"],
    "/queues/pause": ["do", "name", "reason"],
    "/limits": ["do", "name", "key", "concurrency", "rate", "per", "burst", "queue"],
    "/periodic/run": ["task", "periodic_id"],
}
# What makes sense, so that not each form is refused for its first field.
SENSE: Mapping[str, str] = {
    "do": "retry",
    "id": "1",
    "task": "anything",
    "arguments": "{}",
    "name": "tenant",
    "concurrency": "1",
}
CHOICES = st.sampled_from(
    ["retry", "cancel", "abort", "delete", "reschedule", "pause", "resume"]
) | (st.sampled_from(["set", "unset", "ask", "done"]))


def fields_of(names: list[str]) -> st.SearchStrategy[dict[str, str]]:
    odd = st.dictionaries(st.sampled_from(names), sent, max_size=2)
    choice = st.fixed_dictionaries({"do": CHOICES} if "do" in names else {})
    sense = {name: SENSE[name] for name in names if name in SENSE}
    return st.builds(lambda a, b: sense | a | b, choice, odd)


def spelt(fields: Mapping[str, str]) -> str:
    """As it is sent: half of a pair as the bytes that would stand for it."""
    return urlencode(
        {name: value.encode(errors="surrogatepass") for name, value in fields.items()},
        quote_via=quote,
    )


REQUESTS = st.sampled_from(sorted(PAGES)).flatmap(
    lambda page: st.tuples(st.just("GET"), st.just(page), fields_of(PAGES[page]))
) | st.sampled_from(sorted(FORMS)).flatmap(
    lambda page: st.tuples(st.just("POST"), st.just(page), fields_of(FORMS[page]))
)


def test_whatever_is_sent_is_answered_by_a_page_that_does_no_harm(
    database_url: str, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    answered: set[tuple[str, str, int]] = set()

    @examples(20)
    @given(strategies.several(REQUESTS, 8))
    def each(requests: list[tuple[str, str, dict[str, str]]]) -> None:
        connection.execute("TRUNCATE taskq_jobs, taskq_pauses, taskq_limits CASCADE")
        asyncio.run(send(requests))

    async def send(requests: list[tuple[str, str, dict[str, str]]]) -> None:
        async with shop.app.replace_database(database_url) as app:
            await shop.app.configure_task("anything").defer_async(a=1)
            dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
            transport = httpx.ASGITransport(dashboard)
            async with httpx.AsyncClient(
                transport=transport, base_url=HERE, headers=FROM_PAGE
            ) as client:
                for method, page, fields in requests:
                    before = count(connection)
                    if method == "GET":
                        answer = await client.get(f"{page}?{spelt(fields)[:_LONGEST_ADDRESS]}")
                    else:
                        answer = await client.post(
                            page,
                            content=spelt(fields),
                            headers={"content-type": "application/x-www-form-urlencoded"},
                        )
                    answered.add((method, page, answer.status_code))
                    assert answer.status_code < 500, (method, page, ascii(fields)[:2_000])
                    location = answer.headers.get("location", "/")
                    assert location.startswith("/"), location
                    assert not location.startswith("//"), location
                    if answer.text:
                        check_page(answer.text)
                    if answer.status_code >= 400 or method == "GET":
                        assert count(connection) == before

    each()
    # They got past the first check: something was shown, done and refused.
    statuses = {status for _, _, status in answered}
    assert statuses >= {200, 303, 400, 404, 422}, statuses
    for record in caplog.records:
        if record.name.startswith("taskq"):
            assert record.getMessage().isprintable()


@examples(15)
@given(strategies.any_texts, st.sampled_from(["/jobs/{}", "/jobs/{}/live", "/{}", "/static/{}"]))
def test_whatever_is_in_an_address_leads_to_a_page_or_to_nothing(
    app: App, connection: psycopg.Connection, text: str, address: str
) -> None:
    async def get() -> None:
        transport = httpx.ASGITransport(Dashboard(app))
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as client:
            part = quote(text.encode(errors="surrogatepass"), safe="/")
            answer = await client.get(address.format(part))
            assert answer.status_code in {200, 307, 400, 404}, (address, ascii(text)[:200])
            if answer.text:
                check_page(answer.text)

    asyncio.run(get())


NONSENSE: list[tuple[dict[str, str], bytes]] = [
    ({"content-type": "application/json"}, b'{"do": "delete"}'),
    ({"content-type": "multipart/form-data"}, b"--"),
    ({}, b"do=delete"),
    ({"content-type": "application/x-www-form-urlencoded"}, b"\xff=\xfe&%ff=%00"),
    ({"content-type": "application/x-www-form-urlencoded"}, b"a=1&" * 6_000),
    ({"content-type": "application/x-www-form-urlencoded"}, b"a" * (2**22 + 1)),
]


@pytest.mark.parametrize(("headers", "body"), NONSENSE)
async def test_what_is_no_form_changes_nothing(
    app: App, connection: psycopg.Connection, headers: dict[str, Any], body: bytes
) -> None:
    dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
    transport = httpx.ASGITransport(dashboard)
    async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=FROM_PAGE) as client:
        for page in FORMS:
            answer = await client.post(page, content=body, headers=headers)
            # Where a form has no fields, none of it is read.
            assert answer.status_code in {400, 404, 413, 415, 422}, (page, answer.status_code)
            check_page(answer.text)
    assert count(connection) == 0
