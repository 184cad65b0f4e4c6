"""An app whose annotations are text, and only partly there at run time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from taskq import App

if TYPE_CHECKING:
    from decimal import Decimal

    from taskq import JobContext

queue = App()


@queue.task(name="scan")
def scan(path: Path, sizes: list[int] | None = None) -> None: ...


@queue.task(name="price", pass_context=True)
def price(
    context: JobContext, /, folder: Path, of: Sequence[Path | None] = (), **rest: int
) -> Decimal:
    raise NotImplementedError
