"""Pruner: jobs that are kept no longer go, of final ones and by how long ago they finished.

failed, succeeded, cancelled or aborted → deleted. One worker of all does it at a time, the one that has the
lease. It may act at any time: nothing else changes these jobs. It deletes few at once, so many as take some
hundredths of a second, and then pauses for as long: what waits for its locks, its connection or the disk
does not notice it.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from taskq import queries
from taskq.escaping import get_logger
from taskq.job import JobStatus
from taskq.telemetry import JobsPruned, Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

logger: Final = get_logger("taskq.worker.pruner")

# In seconds. What takes less than the first may be more at once, what takes more than the second less. No
# lock is to be held for 0.1 s, and a server can slow down at any time.
_QUICK, _SLOW = 0.006, 0.015

_FEWEST, _MOST = 10, 500

# How long a worker that stops tries to leave its turn to another one.
_LAST_WORDS = 1.0  # seconds

# A job may finish long after those that were deferred with it, and be passed by.
_SWEEP_EVERY = 3600.0  # seconds


class Pruner(Service):
    """Deletes jobs that are kept no longer.

    Args:
        connection: A connection of its own, which it closes after each round.
        registration: Whose turn it may be.
        telemetry: Told of what it deletes.
        kept: How long jobs are kept, by status; those of others are kept for ever.
        interval: Seconds between two rounds.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        telemetry: Telemetry,
        kept: Mapping[JobStatus, timedelta],
        interval: float = 60.0,
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._kept = kept
        self._interval = interval
        self._max_jobs = 100
        self._begin: dict[JobStatus, int] = {}
        self._swept = registration.now()
        self._leased: float | None = None
        self._wakeup = Wakeup()

    async def loop(self) -> None:
        """Prune, and wait for the next round."""
        if not self._kept:
            return
        try:
            while True:
                try:
                    await self._prune()
                except Exception as error:
                    # The next round is soon enough.
                    self._connection.report(error)
                await self._connection.close()
                await self._wakeup.wait(self._interval)
        finally:
            await self._leave()

    async def _leave(self) -> None:
        if self._leased is not None:
            try:
                async with asyncio.timeout(_LAST_WORDS):
                    await self._connection.run(
                        queries.retention.lease_retention, self._registration.id, 0.0
                    )
            except Exception as error:
                logger.debug(
                    "another worker can prune a little later: %s",
                    error,
                    extra={"action": "database_failed"},
                )
        await self._connection.close()

    async def _prune(self) -> None:
        if not await self._has_turn():
            return
        now = self._registration.now()
        if now - self._swept >= _SWEEP_EVERY:
            self._begin.clear()
            self._swept = now
        for status, kept in self._kept.items():
            deleted = await self._prune_status(status, kept)
            if deleted:
                self._telemetry.emit(JobsPruned(status=status, jobs=deleted, kept=kept))

    async def _prune_status(self, status: JobStatus, kept: timedelta) -> int:
        deleted = 0
        leap = False
        after = begin = self._begin.get(status, 0)
        while await self._has_turn():
            began = self._registration.now()
            chunk = await self._connection.run(
                queries.retention.delete_old_chunk,
                status,
                kept,
                queue=None,
                after=after,
                max_jobs=self._max_jobs,
                leap=leap,
            )
            took = self._registration.now() - began
            deleted += chunk.jobs
            leap = not chunk.jobs
            # As long as nothing was passed by that may be deleted soon.
            if begin == after:
                begin = chunk.resume_after
            after = chunk.reached
            if chunk.is_end:
                break
            if took > _SLOW:
                self._max_jobs = max(self._max_jobs // 2, _FEWEST)
            elif took < _QUICK:
                self._max_jobs = min(self._max_jobs * 2, _MOST)
            await self._wakeup.wait(took)
        self._begin[status] = begin
        return deleted

    async def _has_turn(self) -> bool:
        now = self._registration.now()
        if self._leased is not None and now - self._leased < self._interval / 2:
            return True
        # So long no worker prunes if this one dies: nothing is urgent here.
        lease = 2 * self._interval
        has_turn = await self._connection.run(
            queries.retention.lease_retention, self._registration.id, lease
        )
        self._leased = now if has_turn else None
        return has_turn
