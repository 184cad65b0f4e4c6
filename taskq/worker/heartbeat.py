"""Heartbeat: this worker is alive.

It beats from a thread of its own, with an event loop and a connection of its own: a task that blocks the
worker's event loop keeps no beat from the database. It beats to the very last write of the worker, and
unregisters it then. When a beat is overdue, others are about to take this worker for dead and its jobs for
themselves: the worker begins nothing, and aborts what runs, before they may. When it finds that it is not
registered any more it does the same, and registers again under a new id: what it had is not its own.

Alive is not the same as working: a worker that cannot do its work withholds its beats, so that others take
it over.
"""

import asyncio
import time
from collections.abc import Callable

from taskq import queries
from taskq.database.backoff import Backoff
from taskq.queries.connection import Connection
from taskq.queries.workers import RegisteredWorker
from taskq.telemetry import (
    HeartbeatOverdue,
    HeartbeatWithheld,
    HeartbeatWritten,
    Telemetry,
    WorkerRegisteredAgain,
    WorkerUnregisterFailed,
)
from taskq.worker.connection import WorkerConnection
from taskq.worker.loop_monitor import LoopMonitor
from taskq.worker.registration import Registration
from taskq.worker.service import ThreadService, Wakeup

# How often a worker that withholds its beats checks whether it can do its work again, at least.
_RETRY = 1.0  # seconds

# How long a worker that stops tries to unregister.
_UNREGISTER_WITHIN = 2.0  # seconds


class Heartbeat(ThreadService):
    """Says that the worker is alive, and knows when it has not for too long.

    Args:
        connection: A connection that nothing else uses, from its thread.
        registration: Whose heart.
        telemetry: Told of it, in its thread.
        concurrency: How many jobs the worker runs at once.
        interval: Seconds between two beats.
        overdue_after: Seconds without a beat after which the next one is overdue.
        monitor: Runs in the heartbeat's thread.
        obstacle: Says why the worker cannot do its work, and has to let others have it; None: it can.
            Called in the thread.
        overdue: Called in the worker's event loop with True when a beat is overdue, and with False when
            the worker is alive again. What was taken from it meanwhile is not its own any more.
        registered: Called in between if the worker is another one from now on.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        registration: Registration,
        *,
        telemetry: Telemetry,
        concurrency: int,
        interval: float,
        overdue_after: float,
        monitor: LoopMonitor,
        obstacle: Callable[[], str | None],
        overdue: Callable[[bool], None],
        registered: Callable[[RegisteredWorker], None],
    ) -> None:
        super().__init__(telemetry)
        self._connection = connection
        self._registration = registration
        self._concurrency = concurrency
        self._interval = interval
        self._overdue_after = overdue_after
        self._monitor = monitor
        self._obstacle = obstacle
        self._on_overdue = overdue
        self._on_registered = registered
        self._wakeup = Wakeup()
        # Written by the thread.
        self._good_until = time.monotonic() + self._overdue_after
        self._lapses = 0
        self._withheld = False
        self._row = registration.row
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        # Written by the worker's event loop, when it has taken note.
        self._lapses_over = 0

    @property
    def is_overdue(self) -> bool:
        """Whether others may take this worker for dead, or did and it has not put that right yet.

        Also true before the event loop knows it, as when a task blocked it.
        """
        return self._lapses != self._lapses_over or time.monotonic() > self._good_until

    def beat_soon(self) -> None:
        """Beat, and do not wait for the interval to be over; called in the worker's event loop."""
        self.call(self._wakeup.set)

    def tell_of_stop(self) -> None:
        """Say with the next beat, and soon, that the worker was asked to stop."""
        self._stopping = True
        self.beat_soon()

    async def loop(self) -> None:
        """Beat, and wait; and have the event loop monitored."""
        self._arm()
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._beat_on())
            await self._monitor.loop()
            # The event loop was closed under the worker: nothing works any more, and nothing stops this.
            beating.cancel()

    async def finish(self) -> None:
        """Unregister the worker, whatever ended the loop."""
        if self._timer is not None:
            self._timer.cancel()
        try:
            # On a new connection: who knows whether the old one still leads anywhere.
            await self._connection.close()
            async with asyncio.timeout(_UNREGISTER_WITHIN):
                await self._connection.retry(queries.workers.unregister_worker, self._row.id)
        except TimeoutError:
            self._telemetry.emit(WorkerUnregisterFailed(worker_id=self._registration.id))
        await self._connection.close()

    async def _beat_on(self) -> None:
        while True:
            obstacle = self._obstacle()
            if obstacle is None:
                await self._beat()
            elif not self._withheld:
                self._withheld = True
                # It begins nothing from now on. What runs has until the heartbeat is overdue.
                self._good_until = 0
                self._telemetry.emit(
                    HeartbeatWithheld(worker_id=self._registration.id, obstacle=obstacle)
                )
            await self._wakeup.wait(min(self._interval, _RETRY) if obstacle else self._interval)

    async def _beat(self) -> None:
        backoff = Backoff(longest=min(1.0, self._interval))
        failed = False
        while True:
            began = time.monotonic()
            try:
                row = await self._connection.run(self._beat_or_register)
            except Exception as error:
                if not failed:
                    self._connection.report(error)
                failed = True
                await backoff.wait()
                continue
            took = time.monotonic() - began
            self._good_until = began + self._overdue_after
            self._arm()
            former, self._row = self._row, row
            self.tell(self._registration.see_clock, row.server_time, time.monotonic())
            if row.id != former.id:
                self._lapses += 1
                self.tell(self._on_overdue, True)
                self.tell(self._on_registered, row)
                self._telemetry.emit(
                    WorkerRegisteredAgain(worker_id=row.id, former_worker_id=former.id)
                )
            if self._withheld or self._lapses != self._lapses_over:
                self.tell(self._alive_again, self._lapses)
            self._withheld = False
            self._telemetry.emit(HeartbeatWritten(worker_id=row.id, seconds=took))
            return

    def _beat_or_register(self, connection: Connection) -> RegisteredWorker:
        beaten = queries.workers.beat(connection, self._row, stopping=self._stopping)
        return beaten or queries.workers.register_worker(
            connection, self._registration.name, self._registration.queues, self._concurrency
        )

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(
            self._good_until - time.monotonic(), self._lapse
        )

    def _lapse(self) -> None:
        self._lapses += 1
        self.tell(self._on_overdue, True)
        self._telemetry.emit(
            HeartbeatOverdue(worker_id=self._registration.id, seconds=self._overdue_after)
        )

    # In the worker's event loop

    def _alive_again(self, lapses: int) -> None:
        self._lapses_over = lapses
        if lapses == self._lapses:
            self._on_overdue(False)
