"""Rescuer: the jobs of dead workers go back, and who else is alive is known.

doing → todo or failed, for jobs of dead workers. It does nothing while this worker's own heartbeat is
overdue: by its clock it is dead itself then.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from taskq import queries
from taskq.escaping import get_logger
from taskq.job import JobStatus
from taskq.queries.connection import Connection
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service

logger: Final = get_logger("taskq.worker.rescuer")

# A check this long after a worker has died finds it.
_AFTERWARDS = 0.02  # seconds


class Rescuer(Service):
    """Takes the jobs of dead workers back, and lists the workers that are alive.

    Args:
        connection: A connection, which may be shared.
        registration: Who is told of the other workers.
        interval: Seconds between two checks, unless another worker dies before.
        stalled_after: Seconds without a heartbeat after which a worker is dead.
        max_crashes: The how-manieth death of its worker ends a job.
        overdue: Says whether this worker's own heartbeat is overdue.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        interval: float,
        stalled_after: float,
        max_crashes: int,
        overdue: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._interval = interval
        self._stalled_after = stalled_after
        self._max_crashes = max_crashes
        self._overdue = overdue

    async def loop(self) -> None:
        """Rescue, and wait."""
        failed = False
        while True:
            wait = self._interval
            if not self._overdue():
                try:
                    wait = min(wait, await self._connection.run(self._rescue_and_list_workers))
                    failed = False
                except Exception as error:
                    if not failed:
                        self._connection.report(error)
                    failed = True
            await asyncio.sleep(wait)

    def _rescue_and_list_workers(self, connection: Connection) -> float:
        """Returns in how many seconds the first of the others is dead, if it says nothing more."""
        rescued = queries.job_rescue.rescue_jobs(connection, self._stalled_after, self._max_crashes)
        for job in rescued:
            logger.log(
                logging.ERROR if job.status is JobStatus.FAILED else logging.WARNING,
                "job %s is %s: its worker died %s; crashes: %s",
                job.job_id,
                job.status,
                "while it ran" if job.had_begun else "before it began",
                job.crashes,
                extra={"action": "job_rescued", "job_id": job.job_id, "crashes": job.crashes},
            )
        peers = queries.workers.list_peers(connection, self._stalled_after)
        self._registration.see_peers(peers)
        silent_for = max((other.silent_for for other in peers.values()), default=0.0)
        return self._stalled_after - silent_for + _AFTERWARDS
