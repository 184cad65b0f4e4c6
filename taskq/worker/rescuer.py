"""Rescuer: the jobs of dead workers go back, and who else is alive is known.

doing → todo or failed, for jobs of dead workers. It does nothing while this worker's own heartbeat is
overdue: by its clock it is dead itself then.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from taskq import queries
from taskq.queries.connection import Connection
from taskq.queries.workers import Peer
from taskq.telemetry import JobRescued, Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service

# So many locks and limits that jobs wait for are checked each time for having been freed by hand.
_GATES = 1000

# A check this long after a worker has died finds it.
_AFTERWARDS = 0.02  # seconds


class Rescuer(Service):
    """Takes the jobs of dead workers back, and lists the workers that are alive.

    Args:
        connection: A connection, which may be shared.
        registration: Who is told of the other workers.
        telemetry: Told of each job that it takes back.
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
        telemetry: Telemetry,
        interval: float,
        stalled_after: float,
        max_crashes: int,
        overdue: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._interval = interval
        self._stalled_after = stalled_after
        self._max_crashes = max_crashes
        self._overdue = overdue
        # The heartbeats that are of a time to come, and since when they are the last ones, by this
        # machine's clock.
        self._ahead: dict[tuple[int, datetime], float] = {}
        self._last_lock = ""
        self._last_limit = ""

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
            self._telemetry.emit(
                JobRescued(
                    job_id=job.job_id,
                    task_name=job.task_name,
                    queue=job.queue,
                    status=job.status,
                    crashes=job.crashes,
                    had_begun=job.had_begun,
                )
            )
        self._last_lock, self._last_limit = queries.job_rescue.open_forgotten_gates(
            connection, self._last_lock, self._last_limit, _GATES
        )
        peers = queries.workers.list_peers(connection, self._stalled_after)
        self._registration.see_peers(peers)
        self._see_heartbeats_ahead(connection, peers)
        silent_for = max((other.silent_for for other in peers.values()), default=0.0)
        return self._stalled_after - silent_for + _AFTERWARDS

    def _see_heartbeats_ahead(self, connection: Connection, peers: Mapping[int, Peer]) -> None:
        """Find dead workers whose last heartbeat does not get old, as the server's clock was put back."""
        now = time.monotonic()
        self._ahead = {
            heartbeat: self._ahead.get(heartbeat, now)
            for heartbeat in (
                (worker_id, peer.last_heartbeat)
                for worker_id, peer in peers.items()
                if peer.silent_for < 0
            )
        }
        for (worker_id, last_heartbeat), since in self._ahead.items():
            if now - since > self._stalled_after:
                queries.workers.disbelieve_heartbeat(connection, worker_id, last_heartbeat)
