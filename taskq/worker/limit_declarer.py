"""LimitDeclarer: what the app says of its limits is in the database before the worker claims.

It writes when the worker starts, and again when the app has come to know more of them, as of jobs that are
deferred with a limit that no task has; and when the worker had to register again, as in a database that was
restored or made anew, where jobs with a limit that is not there would wait for ever.
"""

import asyncio
from collections.abc import Mapping

from taskq import queries
from taskq.limits import KnownLimits, Limit
from taskq.telemetry import LimitChanged, Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service


class LimitDeclarer(Service):
    """Declares limits.

    Args:
        connection: A connection, which may be shared.
        registration: Whose app.
        telemetry: Told of each that was declared otherwise before.
        interval: Seconds between two looks at what the app knows.
        limits: The limits that the app knows.
        queue_limits: Those in which all jobs of a queue count.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        telemetry: Telemetry,
        interval: float,
        limits: KnownLimits,
        queue_limits: Mapping[str, Limit],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._interval = interval
        self._limits = limits
        self._queue_limits = queue_limits
        # By which registration, and how many.
        self._declared = (0, 0)

    async def declare(self) -> None:
        """Write what was not written yet."""
        known = list(self._limits)
        declaring = (self._registration.id, len(known))
        if not known or declaring == self._declared:
            return
        changes = await self._connection.retry(
            lambda connection: queries.limits.declare_limits(
                connection, known, self._queue_limits, declared_by=self._registration.name
            )
        )
        self._declared = declaring
        for change in changes:
            self._telemetry.emit(
                LimitChanged(
                    worker_id=self._registration.id,
                    what=change.what,
                    said=change.said,
                    former=change.former,
                    former_by=change.former_by,
                )
            )

    async def loop(self) -> None:
        """Declare, and wait."""
        while True:
            await self.declare()
            await asyncio.sleep(self._interval)
