"""Jobs that are waited for."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from taskq.exceptions import JobNotFound
from taskq.manager import JobManager

_CHECK_EVERY = 0.05  # seconds


class Interrupted(Exception):  # noqa: N818 - nothing is wrong
    """The worker was asked to stop before all was done."""


class Backlog:
    """Jobs that were deferred and, when the database was last asked, had not ended.

    Args:
        manager: Where the jobs are.
        working: The worker's run, without which nothing ends any more.
    """

    def __init__(self, manager: JobManager, working: "asyncio.Task[None]") -> None:
        self._manager = manager
        self._working = working
        self._added = 0
        self._alive: list[int] = []

    def add(self, ids: Sequence[int]) -> None:
        """Take jobs that were deferred just now."""
        self._added += len(ids)
        self._alive += ids

    async def shrink(self, length: int) -> AsyncIterator[int]:
        """Wait until no more than so many are left; yields now and then how many have ended.

        Raises:
            Interrupted: The worker was asked to stop.
        """
        while len(self._alive) > length:
            await asyncio.wait([self._working], timeout=_CHECK_EVERY)
            if self._working.done():
                self._working.result()
                raise Interrupted
            self._alive = await self._manager.list_alive_jobs_async(self._alive)
            yield self._added - len(self._alive)

    async def cancel(self) -> None:
        """Cancel those that have not started, in one transaction: each would wait for the disk."""
        if not self._alive:
            return
        engine = self._manager.database.async_engine
        transactional = engine.execution_options(isolation_level="READ COMMITTED")
        async with transactional.begin() as connection:
            jobs = self._manager.on(connection)
            for job_id in self._alive:
                with suppress(JobNotFound):
                    await jobs.cancel_job_by_id_async(job_id)
