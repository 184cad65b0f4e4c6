"""Who may look, who may change something, and what only a page of the dashboard may send."""

import base64
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard, PasswordAccess
from taskq.exceptions import InvalidOption
from taskq.job import JobStatus
from tests.dashboard import shop
from tests.dashboard.conftest import HERE, Browse, text_of

PAGES = ["/", "/jobs", "/jobs/1", "/jobs/change?do=retry&id=1", "/tasks", "/queues", "/workers"]
PAGES += ["/periodic", "/defer?task=wait"]

# Each thing that changes something: its address, and a form that would do it.
ACTIONS: Mapping[str, Mapping[str, str]] = {
    "/jobs/change": {"do": "cancel", "id": "1"},
    "/jobs/1/again": {},
    "/defer": {"task": "wait", "arg:seconds": "1"},
    "/tasks/pause": {"do": "pause", "name": "wait"},
    "/queues/pause": {"do": "pause", "name": "default"},
    "/limits": {"do": "set", "name": "tenant", "concurrency": "1"},
    "/periodic/run": {"task": "shop.carts.remind", "periodic_id": "carts"},
}


@pytest.fixture
async def job(app: App) -> int:
    return await shop.wait.defer_async(seconds=1)


async def is_untouched(app: App, job: int) -> bool:
    jobs = app.job_manager
    found = [each.id for each in await jobs.list_jobs_async()]
    return (
        found == [job]
        and await jobs.get_job_status_async(job) is JobStatus.TODO
        and await jobs.list_pauses_async() == []
    )


def test_each_route_that_changes_something_is_in_these_tests(app: App) -> None:
    routes = [each for each in Dashboard(app)._router.routes if isinstance(each, Route)]
    posts = {each.path for each in routes if each.methods and "POST" in each.methods}
    assert posts == {address.replace("/1/", "/{job_id}/") for address in ACTIONS}


async def test_who_may_do_nothing_sees_nothing(browse: Browse, job: int) -> None:
    client = browse(Access.NONE)
    for page in (*PAGES, "/live", "/jobs/1/live", "/nowhere"):
        answer = await client.get(page)
        assert answer.status_code == 403, page
        assert "you may not look at this" in text_of(answer)
        assert "wait" not in answer.text
        assert "postgres" not in answer.text


async def test_who_may_look_sees_all_pages_and_nothing_that_changes_anything(
    browse: Browse, job: int
) -> None:
    client = browse(Access.READ)
    for page in PAGES:
        answer = await client.get(page)
        assert answer.status_code == 200, page
        posting = answer.text.count('method="post"')
        disabled = answer.text.count("disabled>")
        assert posting == disabled, page


@pytest.mark.parametrize("access", [Access.NONE, Access.READ])
async def test_who_may_not_operate_changes_nothing(
    browse: Browse, app: App, job: int, access: Access
) -> None:
    client = browse(access)
    for address, form in ACTIONS.items():
        answer = await client.post(address, data=form)
        assert answer.status_code == 403, address
        assert await is_untouched(app, job), address


async def test_without_authorize_each_may_look_and_none_may_operate(
    browse: Browse, app: App, job: int
) -> None:
    client = browse(within=Dashboard(app))
    assert (await client.get("/")).status_code == 200
    assert (
        await client.post("/queues/pause", data={"do": "pause", "name": "x"})
    ).status_code == 403
    assert await is_untouched(app, job)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": HERE},
        {"sec-fetch-site": "same-site", "origin": HERE},
        {"sec-fetch-site": "none"},
        {"origin": "https://elsewhere.example"},
        {"origin": "http://testserver.elsewhere.example"},
        {"origin": "http://testserver:8080"},
        {"origin": "null"},
        {},
    ],
    ids=str,
)
async def test_what_comes_from_elsewhere_changes_nothing(
    app: App, job: int, headers: Mapping[str, str]
) -> None:
    dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
    transport = httpx.ASGITransport(dashboard)
    async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=headers) as client:
        for address, form in ACTIONS.items():
            answer = await client.post(address, data=form)
            assert answer.status_code == 403, address
            assert "nothing was changed" in text_of(answer)
            assert await is_untouched(app, job), address


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "same-origin"}, {"origin": HERE}, {"origin": "https://testserver"}],
    ids=str,
)
async def test_what_comes_from_a_page_of_the_dashboard_is_done(
    app: App, job: int, headers: Mapping[str, str]
) -> None:
    dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
    transport = httpx.ASGITransport(dashboard)
    async with httpx.AsyncClient(transport=transport, base_url=HERE, headers=headers) as client:
        answer = await client.post("/jobs/change", data={"do": "cancel", "id": str(job)})
    assert answer.status_code == 303
    assert await app.job_manager.get_job_status_async(job) is JobStatus.CANCELLED


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_page_is_changed_by_no_method(
    client: httpx.AsyncClient, app: App, job: int, method: str
) -> None:
    for page in (*PAGES, "/live"):
        answer = await client.request(method, page)
        takes_forms = page.partition("?")[0] in {"/jobs/change", "/defer"}
        assert answer.status_code == (415 if method == "POST" and takes_forms else 405), page
    assert await is_untouched(app, job)


def basic(said: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(said.encode()).decode()}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        basic("ada:wrong"),
        basic("eve:sécret"),
        basic("ada"),
        {"authorization": "Basic !"},
        {"authorization": "Bearer x"},
    ],
    ids=str,
)
async def test_without_the_password_a_browser_is_asked_for_it(
    browse: Browse, app: App, headers: dict[str, str]
) -> None:
    client = browse(within=Dashboard(app, authorize=PasswordAccess("ada", "sécret")))
    answer = await client.get("/jobs", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")


async def test_with_the_password_one_may_operate_and_is_known_by_name(
    browse: Browse, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    client = browse(within=Dashboard(app, authorize=PasswordAccess("ada", "sécret")))
    with caplog.at_level("INFO", "taskq.contrib.dashboard"):
        answer = await client.post(
            "/queues/pause",
            data={"do": "pause", "name": "mail", "reason": "the relay"},
            headers=basic("ada:sécret"),
        )
    assert answer.status_code == 303
    [pause] = await app.job_manager.list_pauses_async()
    assert (pause.name, pause.paused_by, pause.reason) == ("mail", "ada", "the relay")
    [record] = caplog.records
    assert record.getMessage() == "ada: pause queue (queue='mail')"
    assert vars(record)["by"] == "ada"
    assert vars(record)["action"] == "dashboard_action"


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("ada", ""), ("a:b", "x")])
def test_a_password_that_protects_nothing_is_refused(user: str, password: str) -> None:
    with pytest.raises(InvalidOption):
        PasswordAccess(user, password)


@pytest.mark.parametrize("answer", [True, None, "OPERATE", 2])
async def test_an_authorize_that_answers_something_else_allows_nothing(
    browse: Browse, app: App, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    client = browse(within=Dashboard(app, authorize=lambda request: answer))
    page = await client.get("/jobs")
    assert page.status_code == 500
    assert "authorize" not in page.text
    assert "it has to be Access.NONE, READ or OPERATE" in caplog.text


async def test_authorize_may_be_async_and_say_who_it_is(browse: Browse, app: App) -> None:
    async def authorize(request: Request) -> Access:
        request.state.taskq_user = request.headers["x-user"]
        return Access.OPERATE

    client = browse(within=Dashboard(app, authorize=authorize))
    form = {"do": "pause", "name": "wait"}
    await client.post("/tasks/pause", data=form, headers={"x-user": "grace"})
    [pause] = await app.job_manager.list_pauses_async()
    assert pause.paused_by == "grace"


class Staff(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        return AuthCredentials(["staff"]), SimpleUser("alan")


async def test_mounted_it_knows_the_users_of_the_program_around_it(
    browse: Browse, app: App
) -> None:
    dashboard = Dashboard(
        app,
        authorize=lambda request: Access.OPERATE if request.user.is_authenticated else Access.NONE,
    )
    around = Starlette(
        routes=[Mount("/ops", dashboard)],
        middleware=[Middleware(AuthenticationMiddleware, backend=Staff())],
    )
    await browse(within=around).post("/ops/queues/pause", data={"do": "pause", "name": "mail"})
    [pause] = await app.job_manager.list_pauses_async()
    assert pause.paused_by == "alan"


async def test_a_further_route_has_the_same_address_and_the_same_access(
    browse: Browse, app: App
) -> None:
    def figures(request: Request) -> Response:
        return PlainTextResponse("jobs 7")

    routes = [Route("/figures", figures)]
    assert (await browse(Access.READ, routes=routes).get("/figures")).text == "jobs 7"
    assert (await browse(Access.NONE, routes=routes).get("/figures")).status_code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8090", 200),
        ("127.0.0.1:8090", 200),
        ("[::1]:8090", 200),
        ("[::1]", 200),
        ("rebound.example", 421),
        ("localhost.rebound.example:8090", 421),
        ("", 421),
    ],
)
async def test_a_name_that_leads_here_from_elsewhere_is_refused(
    browse: Browse, app: App, host: str, status: int
) -> None:
    client = browse(within=Dashboard(app, hosts=["localhost", "127.0.0.1", "[::1]"]))
    assert (await client.get("/jobs", headers={"host": host})).status_code == status


async def test_each_answer_forbids_what_no_page_needs(client: httpx.AsyncClient, job: int) -> None:
    for page in (*PAGES, "/nowhere", "/jobs/x", "/static/dashboard.css"):
        answer = await client.get(page)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy, page
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
