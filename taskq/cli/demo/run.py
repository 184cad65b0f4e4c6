"""The demo's run: its jobs are deferred, and a worker in this process runs them."""

import asyncio
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from pathlib import Path
from typing import TypeVar

from taskq.app import App
from taskq.cli.demo.backlog import Backlog
from taskq.cli.demo.tasks import app, fold, measure
from taskq.worker import Worker

T = TypeVar("T")

_BATCH = 500  # files whose jobs are deferred in one statement
_AHEAD = 500  # jobs that may wait when more are deferred: Ctrl-C has to cancel what waits
_FOLDED = 500  # files that one job folds


class Run:
    """One run over some files; what came of its jobs is in the database.

    Args:
        files: The files.
        progress: Called with how many jobs have ended.

    Attributes:
        measured: The jobs that measure files, by file type.
        folded: The jobs that fold, by file type; the last one of each has the whole summary.
        total: How many jobs there will be, those included that fold.
        refused: The files that cannot become jobs, each with the reason.
    """

    def __init__(self, files: Sequence[Path], progress: Callable[[int], None]) -> None:
        self.measured: dict[str, list[int]] = defaultdict(list)
        self.folded: dict[str, list[int]] = defaultdict(list)
        self.refused: list[tuple[Path, str]] = [
            (path, "its name is not valid UTF-8, which is what the database holds")
            for path in files
            if not _is_text(path)
        ]
        self._files = [path for path in files if _is_text(path)]
        types = Counter(path.suffix.lower() for path in self._files)
        self.total: int = sum(count + ceil(count / _FOLDED) for count in types.values())
        self._progress = progress
        # Its folds wait for one another, and for those of no other run.
        self._name = uuid.uuid4().hex

    @property
    def jobs(self) -> list[int]:
        """All its jobs, in the order in which they were deferred."""
        by_type = (*self.measured.values(), *self.folded.values())
        return sorted(job_id for ids in by_type for job_id in ids)

    async def work(self, worker: Worker[App]) -> None:
        """Defer the jobs, and have a worker run them until the last one has ended.

        Raises:
            Interrupted: The worker was asked to stop; what had not started is cancelled.
        """
        working = asyncio.create_task(worker.run())
        backlog = Backlog(app.job_manager, working)
        try:
            await self._measure(backlog)
            await self._fold(backlog)
        finally:
            if not working.done():
                worker.stop()
            await working
            await backlog.cancel()

    async def _measure(self, backlog: Backlog) -> None:
        for paths in _chunks(self._files, _BATCH):
            ids = await measure.batch_defer_async(*(measure.args(path=path) for path in paths))
            for path, job_id in zip(paths, ids, strict=True):
                self.measured[path.suffix.lower()].append(job_id)
            backlog.add(ids)
            await self._until(backlog, _AHEAD)
        await self._until(backlog, 0)

    async def _fold(self, backlog: Backlog) -> None:
        for file_type, measured in self.measured.items():
            deferrer = fold.configure(lock=f"demo {self._name} {file_type}")
            last = None
            for ids in _chunks(measured, _FOLDED):
                last = await deferrer.defer_async(measured=list(ids), after=last)
                self.folded[file_type].append(last)
                backlog.add([last])
        await self._until(backlog, 0)

    async def _until(self, backlog: Backlog, length: int) -> None:
        async for ended in backlog.shrink(length):
            self._progress(ended)


def _is_text(path: Path) -> bool:
    # Python has lone surrogates in the place of bytes that are none.
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
