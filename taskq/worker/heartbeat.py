"""Heartbeat and rescue: this worker is alive, and the jobs of those that are not go back.

doing → todo or failed, for jobs of dead workers. It beats to the very last write of the worker. When its
own beat is overdue it has the worker begin nothing: others take it for dead then, and give its jobs to
somebody else. No statement may keep it from beating: each has its time.
"""

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy import Connection

from taskq.job import JobStatus
from taskq.manager import operations
from taskq.worker.identity import Identity
from taskq.worker.link import Backoff, Link
from taskq.worker.part import Part

logger = logging.getLogger("taskq.worker.heartbeat")

# A look for the dead this long after one has died finds it.
_AFTERWARDS = 0.02  # seconds


class Heartbeat(Part):
    """Beats, learns who else is alive, and rescues.

    Args:
        link: A connection of its own: a beat waits for nobody.
        identity: Whose heart.
        interval: Seconds between two beats.
        stalled_after: Seconds without a beat after which a worker is dead.
        max_crashes: The how-manieth death of its worker ends a job.
        overdue: Told True when this worker's own beat is overdue, and False when it is not any more.
    """

    def __init__(
        self,
        link: Link,
        identity: Identity,
        *,
        interval: float,
        stalled_after: float,
        max_crashes: int,
        overdue: Callable[[bool], None],
    ) -> None:
        self._link = link
        self._identity = identity
        self._interval = interval
        self._stalled_after = stalled_after
        self._max_crashes = max_crashes
        self._overdue = overdue
        self._last = identity.now()
        # A statement that takes this long leaves time for another beat before this worker is dead.
        self._patience = (stalled_after - interval) / 2

    async def loop(self) -> None:
        """Beat, rescue, and wait."""
        cannot_rescue = False
        while True:
            await self._beat()
            wait = self._interval
            try:
                async with asyncio.timeout(self._patience):
                    wait = min(wait, await self._link.run(self._rescue_and_look_round))
                cannot_rescue = False
            except Exception as error:
                if not cannot_rescue:
                    self._link.report(error)
                cannot_rescue = True
            await asyncio.sleep(wait)

    async def _beat(self) -> None:
        backoff = Backoff(longest=min(1.0, self._interval))
        identity = self._identity
        failed = False
        is_overdue = False
        while True:
            began = identity.now()
            left = self._last + self._stalled_after - began
            try:
                async with asyncio.timeout(
                    min(self._patience, left) if left > 0 else self._patience
                ):
                    registered, clock = await self._link.run(
                        operations.beat, identity.id, identity.name, identity.queues
                    )
            except Exception as error:
                if not failed:
                    self._link.report(error)
                failed = True
                if not is_overdue and identity.now() - self._last >= self._stalled_after:
                    is_overdue = True
                    logger.warning(
                        "no heartbeat for %s s: other workers take this one for dead, so it begins "
                        "nothing until a heartbeat succeeds",
                        self._stalled_after,
                        extra={"action": "heartbeat_overdue", "worker_id": identity.id},
                    )
                    self._overdue(True)
                await backoff.wait()
                continue
            # Also overdue if nobody noticed: the machine slept, or a task blocked the event loop.
            was_overdue = is_overdue or began - self._last > self._stalled_after
            self._last = began
            identity.see_clock(clock)
            if not registered:
                logger.warning(
                    "worker %s was taken for dead and has registered again",
                    identity.id,
                    extra={"action": "worker_registered_again", "worker_id": identity.id},
                )
            if was_overdue or not registered:
                self._overdue(False)
            return

    def _rescue_and_look_round(self, connection: Connection) -> float:
        """Returns in how many seconds the first of the others is dead, if it says nothing more."""
        rescued = operations.rescue_jobs(connection, self._stalled_after, self._max_crashes)
        for job in rescued:
            logger.log(
                logging.ERROR if job.status is JobStatus.FAILED else logging.WARNING,
                "job %s is %s: its worker died while it ran, for the %s. time",
                job.job_id,
                job.status,
                job.crashes,
                extra={"action": "job_rescued", "job_id": job.job_id, "crashes": job.crashes},
            )
        colleagues = operations.list_colleagues(connection, self._stalled_after)
        self._identity.see_colleagues(colleagues)
        silent_for = max((other.silent_for for other in colleagues.values()), default=0.0)
        return self._stalled_after - silent_for + _AFTERWARDS
