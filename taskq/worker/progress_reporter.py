"""ProgressReporter: how far jobs have come, at most once a second, all of a worker's in one statement.

It moves nothing, and writes only of attempts that are still this worker's. The last that an attempt has
reported goes with its end. Jobs that report nothing cost nothing.
"""

import asyncio
import threading
from collections.abc import Collection, Sequence
from contextlib import suppress

from taskq import queries
from taskq.job import Job
from taskq.progress import NewProgress
from taskq.queries.job_progress import Report
from taskq.worker.connection import WorkerConnection
from taskq.worker.service import Service, Wakeup

_INTERVAL = 1.0  # seconds


class ProgressBoard:
    """What attempts have reported, and is not written; they may do so in any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[int, int], Report] = {}
        # What is being written: it may come too late for an attempt that ends meanwhile.
        self._writing: dict[tuple[int, int], Report] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reported = Wakeup()

    def report(self, job: Job, progress: NewProgress) -> None:
        """Have it written, instead of what the attempt reported before."""
        report = Report(job_id=job.id, worker_id=job.worker_id, claim=job.claim, progress=progress)
        with self._lock:
            is_first = not self._reports
            self._reports[job.id, job.claim] = report
        if is_first and self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._reported.set)

    def take(self, job_id: int, claim: int) -> NewProgress | None:
        """Take what an attempt that has ended reported last, unless it is written."""
        if not self._reports and not self._writing:
            return None
        with self._lock:
            before = self._writing.pop((job_id, claim), None)
            report = self._reports.pop((job_id, claim), before)
        return None if report is None else report.progress

    def last(self, job_id: int, claim: int) -> NewProgress | None:
        """What an attempt has reported last, unless it is written."""
        if not self._reports and not self._writing:
            return None
        with self._lock:
            before = self._writing.get((job_id, claim))
            report = self._reports.get((job_id, claim), before)
        return None if report is None else report.progress

    async def take_all(self) -> Sequence[Report]:
        """Wait until there is something to write, and take it."""
        self._loop = asyncio.get_running_loop()
        while not self._reports:
            await self._reported.wait()
        with self._lock:
            self._writing, self._reports = self._reports, {}
            return list(self._writing.values())

    def written(self, left_out: Collection[int]) -> None:
        """What was taken is written, except of these jobs: theirs come again, unless there are newer ones."""
        with self._lock:
            again = {key: report for key, report in self._writing.items() if key[0] in left_out}
            self._reports = again | self._reports
            self._writing = {}


class ProgressReporter(Service):
    """Writes what attempts report.

    Args:
        connection: A connection, which may be shared.
        board: Where they report.
    """

    def __init__(self, connection: WorkerConnection, board: ProgressBoard) -> None:
        self._connection = connection
        self._board = board

    async def loop(self) -> None:
        """Write what there is, and wait."""
        while True:
            reports = await self._board.take_all()
            left_out = await self._connection.retry(queries.job_progress.report_progress, reports)
            self._board.written(left_out)
            await asyncio.sleep(_INTERVAL)
