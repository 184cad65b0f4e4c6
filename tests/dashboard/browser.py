"""Debian's chromium, driven by Playwright."""

import os
from pathlib import Path

from playwright.sync_api import Browser, Playwright

CHROMIUM = Path("/usr/bin/chromium")


def launch(playwright: Playwright) -> Browser:
    """Start the browser; as root without its sandbox, which it cannot have then."""
    return playwright.chromium.launch(
        executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else []
    )
