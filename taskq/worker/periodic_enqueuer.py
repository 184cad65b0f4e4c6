"""PeriodicEnqueuer: periodic tasks are deferred when their time has come.

Every worker does it for all periodic tasks of its app, and the database decides who was first. It acts
on the server's clock, and not once the worker stops.
"""

from collections.abc import Sequence

from taskq import queries
from taskq.defer_middleware import DeferMiddleware, apply_defer_middleware
from taskq.job import NewJob
from taskq.periodic import Periodic
from taskq.telemetry import Deferral, PeriodicDeferred, PeriodicNotDeferred, Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.registration import Registration
from taskq.worker.service import Service, Wakeup

# Another worker goes first; this one makes sure.
_SECOND = 0.1  # seconds

# How long it waits at most before it looks at the clock again: the server's may have been set, or this
# machine may have slept.
_LOOK_EVERY = 10.0  # seconds


class PeriodicEnqueuer(Service):
    """Defers the jobs of ticks.

    Args:
        connection: A connection, which may be shared.
        registration: Whose clock and peers.
        telemetry: Told of the jobs that it defers.
        periodics: The periods.
        max_delay: Seconds by which a tick may be late and is still deferred.
        defer_middleware: What may change each job. If it raises, the tick is left to other workers.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        telemetry: Telemetry,
        periodics: Sequence[Periodic],
        max_delay: float,
        defer_middleware: Sequence[DeferMiddleware],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._telemetry = telemetry
        self._periodics = periodics
        self._max_delay = max_delay
        self._defer_middleware = defer_middleware
        self._wakeup = Wakeup()

    async def loop(self) -> None:
        """Defer what is due, and wait for the next tick."""
        if not self._periodics:
            return
        # Ticks that came while no worker ran are made up for; what was deferred already, the database knows.
        counts_after = await self._connection.retry(
            queries.periodic.register_periodic,
            {_key(period): period.schedule for period in self._periodics},
        )
        # As it is known here, the server's clock is late by as long as an answer takes.
        now = max(self._registration.server_now(), *counts_after.values())
        done: dict[tuple[str, str], float] = {**counts_after}
        while True:
            for period in self._periodics:
                after = max(done[_key(period)], now - self._max_delay)
                for tick in period.between(after, now):
                    await self._defer(period, tick)
                done[_key(period)] = now
            following = min(period.next_after(now) for period in self._periodics)
            wait = self._registration.seconds_until(following)
            if self._registration.rank(str(following)):
                wait += _SECOND
            await self._wakeup.wait(min(max(wait, 0), _LOOK_EVERY))
            now = self._registration.server_now()

    async def _defer(self, period: Periodic, tick: int) -> None:
        try:
            job, job_id = await self._deferred(period, tick)
        except Exception as error:
            self._telemetry.emit(
                PeriodicNotDeferred(
                    task_name=period.task.name,
                    periodic_id=period.periodic_id,
                    tick=tick,
                    error=error,
                )
            )
            return
        if job_id is not None:
            self._telemetry.emit(
                PeriodicDeferred(
                    job_id=job_id,
                    task_name=job.task_name,
                    queue=job.queue_name,
                    periodic_id=period.periodic_id,
                    tick=tick,
                )
            )

    async def _deferred(self, period: Periodic, tick: int) -> tuple[NewJob, int | None]:
        jobs = [period.job(tick)]
        with Deferral(self._telemetry, jobs, tick=tick) as deferral:
            [job] = apply_defer_middleware(self._defer_middleware, jobs)
            job_id = await self._connection.retry(
                queries.periodic.defer_periodic, job, period.periodic_id, tick
            )
            if job_id is not None:
                deferral.succeeded([job], [job_id])
        return job, job_id


def _key(period: Periodic) -> tuple[str, str]:
    return period.task.name, period.periodic_id
