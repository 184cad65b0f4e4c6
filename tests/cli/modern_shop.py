"""An app whose annotations are text, and only partly there at run time."""

from __future__ import annotations

from pathlib import Path

from taskq import App

queue = App()


@queue.task(name="scan")
def scan(path: Path, sizes: list[int] | None = None) -> None: ...
