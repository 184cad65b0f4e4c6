"""Makes the pictures of the docs: ``python -m tests.dashboard.screenshots [FOLDER]``.

It needs Debian's chromium, and starts a server and a database of its own.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import psycopg
from playwright.sync_api import Browser, Page, sync_playwright

from taskq.contrib.dashboard import Access, Dashboard
from taskq.embedded import EmbeddedServer
from tests.dashboard import shop
from tests.dashboard.browser import launch
from tests.dashboard.scene import fill
from tests.dashboard.serving import serving

DOCS = Path(__file__).parents[2] / "docs"

WIDE = {"width": 1280, "height": 880}
PHONE = {"width": 390, "height": 844}


def main() -> None:
    """Make them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    with tempfile.TemporaryDirectory(prefix="taskq-shots-") as scratch:
        Path(scratch).chmod(0o711)
        with EmbeddedServer(Path(scratch) / "server") as server:
            app = shop.app
            with app.replace_database(server.url):
                app.schema_manager.apply_schema()
                with psycopg.connect(
                    server.url.replace("+psycopg", ""), autocommit=True
                ) as connection:
                    asyncio.run(fill(app, connection))
                    row = connection.execute(
                        "SELECT max(id) FILTER (WHERE status = 'failed'), "
                        "max(id) FILTER (WHERE progress IS NOT NULL) "
                        "FROM taskq_jobs"
                    ).fetchone()
                    assert row
                dashboard = Dashboard(app, authorize=lambda request: Access.OPERATE)
                with serving(dashboard) as url, sync_playwright() as playwright:
                    browser = launch(playwright)
                    take(browser, url, folder, failed=row[0], running=row[1])
                    browser.close()


def take(browser: Browser, url: str, folder: Path, *, failed: int, running: int) -> None:
    """Take the pictures."""
    pages = {
        "overview": "/",
        "jobs": "/jobs",
        "job": f"/jobs/{failed}",
        "running": f"/jobs/{running}",
        "tasks": "/tasks",
        "queues": "/queues",
        "workers": "/workers",
        "periodic": "/periodic",
        "defer": "/defer?task=shop.images.resize",
        "change": "/jobs/change?do=retry&all=1&status=failed&task=shop.payments.charge",
    }
    for scheme, size, names in (
        ("light", WIDE, list(pages)),
        ("dark", WIDE, ["overview"]),
        ("light", PHONE, ["overview", "jobs"]),
    ):
        context = browser.new_context(
            viewport=size,  # type: ignore[arg-type]
            color_scheme=scheme,  # type: ignore[arg-type]
            device_scale_factor=1 if size is WIDE else 2,
        )
        page = context.new_page()
        for name in names:
            shoot(
                page, f"{url}{pages[name]}", folder / f"dashboard-{_name(name, scheme, size)}.png"
            )
        context.close()


def shoot(page: Page, address: str, path: Path) -> None:
    """Take one picture, once the page is live."""
    page.goto(address)
    if page.locator(".live").count():
        page.locator(".live.on").wait_for()
    page.screenshot(path=path)
    print(path.name)


def _name(name: str, scheme: str, size: dict[str, int]) -> str:
    return name + ("-phone" if size is PHONE else "") + ("-dark" if scheme == "dark" else "")


if __name__ == "__main__":
    main()
