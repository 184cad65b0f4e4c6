"""The pages in a real browser, beside a real worker: each action, the keyboard, and what axe finds."""

import asyncio
import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from taskq import App
from taskq.contrib.dashboard import Access, Dashboard
from taskq.embedded import EmbeddedServer
from taskq.job import JobStatus
from tests.dashboard import shop
from tests.dashboard.browser import launch
from tests.dashboard.scene import fill
from tests.dashboard.serving import serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def app(database_url: str) -> Iterator[App]:
    # By hand, as the server's own thread uses it too.
    left = shop.app.move(App(database_url)._database)
    yield shop.app
    shop.app.close()
    shop.app.move(left)


@pytest.fixture
def url(app: App) -> Iterator[str]:
    with serving(Dashboard(app, authorize=lambda request: Access.OPERATE)) as url:
        yield url


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(15_000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page, of which the console has nothing to say: as where the policy forbids something."""
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    # It says so of each page with another status than 200.
    assert [text for text in said if "the server responded with a status of" not in text] == []


@pytest.fixture
def scene(app: App, connection: psycopg.Connection) -> None:
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(fill(app, connection))).result()


@contextmanager
def working(app: App, **options: Any) -> Iterator[None]:
    """A worker in a thread of its own, until the end of the block."""
    worker = app.worker(install_signal_handlers=False, **options)
    thread = threading.Thread(target=lambda: asyncio.run(worker.run()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(30)


PAGES = [
    "/",
    "/jobs",
    "/jobs?status=failed&tag=none",
    "/jobs?worker=x&lock=l",
    "/tasks",
    "/queues",
    "/workers",
    "/periodic",
    "/defer?task=shop.images.resize",
    "/defer?task=anything",
    "/jobs/change?do=reschedule&all=1&status=todo",
    "/jobs/4711471",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_on_any_page(
    scene: None, browser: Browser, url: str, scheme: str, width: int, app: App
) -> None:
    context = browser.new_context(
        base_url=url,
        color_scheme=scheme,  # type: ignore[arg-type]
        viewport={"width": width, "height": 900},
    )
    page = context.new_page()
    jobs = app.job_manager
    failed, running, waiting = (
        next(iter(jobs.list_jobs(status=status, newest_first=True, limit=1))).id
        for status in (JobStatus.FAILED, JobStatus.DOING, JobStatus.TODO)
    )
    found = {}
    for address in [*PAGES, f"/jobs/{failed}", f"/jobs/{running}", f"/jobs/{waiting}"]:
        page.goto(address)
        for summary in page.locator("summary").all():
            if summary.is_visible() and summary.locator("..").get_attribute("open") is None:
                summary.click()
        results = Axe().run(page).response["violations"]
        found[address] = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in results
        ]
        # Nothing is wider than the screen, but what scrolls in itself.
        assert page.evaluate("document.documentElement.scrollWidth") <= width, address
    context.close()
    assert {address: faults for address, faults in found.items() if faults} == {}


def test_a_job_goes_from_a_form_to_its_end_before_ones_eyes(app: App, page: Page) -> None:
    with working(app):
        page.goto("/tasks")
        card = page.locator("li.card", has_text="shop.images.resize")
        card.get_by_role("link", name="Defer one…").click()
        page.get_by_label("path").fill("/pictures/1.jpg")
        page.get_by_label("size").select_option("large")
        page.get_by_label("formats").fill('["webp"]')
        page.get_by_role("button", name="Defer", exact=True).click()
        expect(page.get_by_role("status")).to_have_text("Deferred.")
        # By itself, without loading the page again.
        expect(page.locator("#head .badge")).to_have_text("succeeded")
        expect(page.locator("#facts")).to_contain_text("/pictures/1.jpg")
        expect(page.locator(".live")).to_have_count(0)


def test_a_job_that_failed_is_retried_edited_and_deleted(app: App, page: Page) -> None:
    job = shop.charge.defer(account="acme", cents=5)
    with working(app):
        page.goto(f"/jobs/{job}")
        expect(page.locator("#head .badge")).to_have_text("failed")
        expect(page.locator("#attempts")).to_contain_text("the bank of acme does not answer")
        page.get_by_role("button", name="Retry").click()
        expect(page.locator("#attempts")).to_contain_text("Attempt 2")
    page.reload()
    page.get_by_role("link", name="Edit and run again…").click()
    expect(page.get_by_label("account")).to_have_value("acme")
    page.get_by_label("cents").fill("none")
    page.get_by_role("button", name="Defer", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("is not JSON")
    page.get_by_label("cents").fill("6")
    page.get_by_role("button", name="Defer", exact=True).click()
    expect(page.locator(".tree").first).to_contain_text("6")
    page.get_by_role("button", name="Defer another like it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Job {job + 2}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    page.get_by_role("link", name="Delete…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete 1 job?")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_have_text("1 job deleted.")


def test_a_job_that_runs_is_aborted_and_one_that_waits_rescheduled(app: App, page: Page) -> None:
    running = shop.wait.defer(seconds=60)
    waiting = shop.wait.configure(schedule_in={"hours": 1}).defer(seconds=0)
    with working(app):
        page.goto(f"/jobs/{running}")
        page.get_by_role("link", name="Abort…").click()
        page.get_by_role("button", name="Abort").click()
        expect(page.locator("#head .badge")).to_have_text("aborted")
        page.goto(f"/jobs/{waiting}")
        expect(page.locator("#head")).to_contain_text("It is scheduled for")
        page.get_by_role("link", name="Reschedule…").click()
        page.get_by_label("When").fill("0")
        page.get_by_role("button", name="Reschedule").click()
        expect(page.locator("#head .badge")).to_have_text("succeeded")


def test_many_jobs_are_selected_by_keyboard_alone(app: App, page: Page, scene: None) -> None:
    page.goto("/jobs?status=failed")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    every = page.get_by_label("Select all jobs of this page")
    every.focus()
    page.keyboard.press("Space")
    assert page.locator("tbody input:checked").count() == 31
    page.get_by_label("Select job").first.focus()
    page.keyboard.press("Space")
    assert page.locator("tbody input:checked").count() == 30
    page.get_by_role("button", name="Retry…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Retry 30 jobs?")
    page.get_by_role("button", name="Retry").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("30 jobs put back into the queue.")
    assert len(app.job_manager.list_jobs(status="failed")) == 1


def test_all_that_fit_filters_are_changed_together(app: App, page: Page, scene: None) -> None:
    page.goto("/jobs")
    page.get_by_role("checkbox", name="failed").check()
    page.get_by_label("Text in the error").fill("ACME does not")
    page.get_by_role("button", name="Filter").click()
    # What was left empty is not in the address.
    expect(page).to_have_url(re.compile(r"/jobs\?status=failed&error=ACME\+does\+not$"))
    page.get_by_label("all that fit the filters").check()
    page.get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Delete 31 jobs?")
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("status")).to_have_text("31 jobs deleted.")
    assert len(app.job_manager.list_jobs(status="failed")) == 0


def test_queues_tasks_limits_and_periodic_tasks_are_operated(
    app: App, page: Page, scene: None
) -> None:
    page.goto("/queues")
    row = page.get_by_role("row", name="mail")
    row.get_by_text("Pause…").click()
    row.get_by_label("Why, for others to read").fill("the relay")
    row.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_have_text("Queue mail is paused.")
    expect(row).to_contain_text("the relay")
    row.get_by_role("button", name="Resume").click()
    expect(page.get_by_role("status")).to_have_text("Queue mail is resumed.")
    limit = page.get_by_role("row", name="tenant acme")
    limit.get_by_text("Set…").click()
    limit.get_by_label("At once", exact=True).fill("9")
    limit.get_by_role("button", name="Set", exact=True).click()
    expect(page.get_by_role("row", name="tenant acme")).to_contain_text("9 at once")
    page.get_by_role("row", name="tenant acme").get_by_role("button", name="Unset").click()
    expect(page.get_by_role("status")).to_contain_text("as the app declares it")
    page.goto("/periodic")
    period = page.get_by_role("row", name="shop.carts.remind")
    period.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_contain_text("is paused")
    period.get_by_role("button", name="Resume").click()
    period.get_by_role("button", name="Run now").click()
    expect(page.get_by_role("status")).to_have_text("Deferred.")
    page.goto("/tasks")
    card = page.locator("li.card", has_text="shop.payments.charge")
    card.get_by_text("Pause…").click()
    card.get_by_role("button", name="Pause").click()
    expect(card.locator(".badge")).to_have_text("paused")
    card.get_by_role("button", name="Resume").click()
    assert {pause.name for pause in app.job_manager.list_pauses()} == {"reports"}


def test_the_overview_follows_what_happens_and_can_be_paused(app: App, page: Page) -> None:
    page.goto("/")
    waiting = page.locator(".tiles li", has_text="Waiting").locator("strong")
    expect(waiting).to_have_text("0")
    expect(page.locator(".live")).to_contain_text("Live")
    shop.wait.configure(schedule_in={"hours": 1}).batch_defer({"seconds": 1}, {"seconds": 2})
    expect(waiting).to_have_text("2")
    page.get_by_role("button", name="Pause updates").click()
    shop.wait.configure(schedule_in={"hours": 1}).defer(seconds=3)
    page.wait_for_timeout(3000)
    expect(waiting).to_have_text("2")
    page.get_by_role("button", name="Resume updates").click()
    expect(waiting).to_have_text("3")


def test_without_script_the_pages_do_the_same(app: App, browser: Browser, url: str) -> None:
    job = shop.charge.defer(account="acme", cents=5)
    context = browser.new_context(base_url=url, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1
    page.goto("/jobs")
    page.get_by_label(f"Select job {job}").check()
    page.get_by_role("button", name="Cancel…").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#head .badge")).to_have_text("cancelled")
    context.close()


def test_a_page_elsewhere_can_change_nothing(app: App, browser: Browser, url: str) -> None:
    job = shop.wait.configure(schedule_in={"hours": 1}).defer(seconds=1)

    async def elsewhere(scope: Any, receive: Any, send: Any) -> None:
        form = (
            f'<form method="post" action="{url}/jobs/change"><input name="do" value="cancel">'
            f'<input name="id" value="{job}"><button>win</button></form><iframe src="{url}/"></iframe>'
        )
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": form.encode()})

    with serving(elsewhere) as there:
        context = browser.new_context()
        page = context.new_page()
        # Another site by its name, on the same machine.
        page.goto(there.replace("127.0.0.1", "localhost"))
        frame = page.frames[1]
        assert "Overview" not in frame.content()
        page.get_by_role("button", name="win").click()
        expect(page.get_by_text("nothing was changed")).to_be_visible()
        context.close()
    assert app.job_manager.get_job_status(job) is JobStatus.TODO


def test_nothing_is_loaded_from_anywhere_else_and_little_from_here(
    page: Page, url: str, scene: None
) -> None:
    asked: list[str] = []
    sizes: list[int] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "response",
        lambda response: sizes.append(0 if "/live" in response.url else len(response.body())),
    )
    page.goto("/")
    page.locator(".live.on").wait_for()
    assert asked
    assert all(address.startswith(url) for address in asked)
    assert sum(sizes) < 80_000


def test_a_database_that_was_away_is_back_by_itself(browser: Browser) -> None:
    context = browser.new_context()
    overview, jobs = context.new_page(), context.new_page()
    with tempfile.TemporaryDirectory(prefix="taskq-away-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedServer(Path(folder) / "server") as server, App(server.url) as app:
            app.schema_manager.apply_schema()
            with serving(Dashboard(app)) as url:
                overview.goto(url)
                expect(overview.locator(".live")).to_contain_text("Live")
                server.stop()
                expect(overview.locator(".live")).to_contain_text("is away", timeout=15_000)
                answer = jobs.goto(f"{url}/jobs")
                assert answer
                assert answer.status == 503
                server.start()
                # Neither of them is touched.
                expect(jobs.get_by_role("heading", level=1)).to_have_text("Jobs", timeout=20_000)
                overview.bring_to_front()
                expect(overview.locator(".live")).to_contain_text("Live", timeout=20_000)
                context.close()
