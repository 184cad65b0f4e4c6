"""Subscriber: what notifications mean for this worker; each is passed to the service that it is for.

It moves nothing. What it misses is made up for when it is told so, and by the polls.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from taskq import queries
from taskq.database.notifications import (
    Abort,
    Failed,
    Later,
    Missed,
    Notification,
    QueuePaused,
    Ready,
    TaskPaused,
)
from taskq.database.notifier import Notifier
from taskq.queries.pauses import PauseKind
from taskq.telemetry import DatabaseFailed, DatabaseRecovered, Telemetry
from taskq.worker.canceller import Canceller
from taskq.worker.connection import WorkerConnection
from taskq.worker.producer import Producer
from taskq.worker.registration import Registration
from taskq.worker.scheduler import Scheduler
from taskq.worker.service import Service, Wakeup

_PURPOSE: Final = "notifications"
_KINDS: Final = (Ready, Later, Abort, QueuePaused, TaskPaused)


class Subscriber(Service):
    """Is notified that there are jobs, now or later, that jobs are to be aborted, and that queues and tasks
    are paused.

    Args:
        notifier: Notifies it, and others in this process.
        registration: For whom.
        telemetry: Told of bad moments of the connection.
        ping_interval: Seconds between two signs of life that the server is asked for.
        bound: Seconds that the server has for an answer.
        producer: Told of jobs.
        scheduler: Told of jobs for later.
        canceller: Told of requests to abort.
        paused_queue: Told of queues that are paused.
        paused_task: Told of tasks that are paused.
        connection: Asked which are, after notifications were missed.
    """

    def __init__(
        self,
        notifier: Notifier,
        registration: Registration,
        *,
        telemetry: Telemetry,
        ping_interval: float,
        bound: float,
        producer: Producer,
        scheduler: Scheduler,
        canceller: Canceller,
        paused_queue: Callable[[str], None],
        paused_task: Callable[[str], None],
        connection: WorkerConnection,
    ) -> None:
        self._notifier = notifier
        self._registration = registration
        self._telemetry = telemetry
        self._failing_since: float | None = None
        self._ping_interval = ping_interval
        self._bound = bound
        self._producer = producer
        self._scheduler = scheduler
        self._canceller = canceller
        self._paused_queue = paused_queue
        self._paused_task = paused_task
        self._connection = connection
        self._missed = Wakeup()

    async def loop(self) -> None:
        """Be subscribed until cancelled, and then until the connection is closed, unless others use it."""
        loop = asyncio.get_running_loop()
        subscription = self._notifier.subscribe(
            self._tell,
            loop=loop,
            ping_interval=self._ping_interval,
            bound=self._bound,
            kinds=_KINDS,
        )
        try:
            while True:
                await self._missed.wait()
                for pause in await self._connection.retry(queries.pauses.list_pauses):
                    if pause.kind is PauseKind.QUEUE:
                        self._paused_queue(pause.name)
                    else:
                        self._paused_task(pause.name)
        finally:
            subscription.close()
            await self._notifier.wait_closed_async()

    def _tell(self, notification: Notification) -> None:
        match notification:
            case Ready(queue, transaction) if self._registration.serves(queue):
                self._producer.notified(self._registration.rank(transaction, queue), queue)
            case Later(queue, due_at) if self._registration.serves(queue):
                self._scheduler.expect(due_at)
            case Abort(worker_id) if worker_id == self._registration.id:
                self._canceller.wake()
            case QueuePaused(queue):
                self._paused_queue(queue)
            case TaskPaused(task_name):
                self._paused_task(task_name)
            case Missed():
                self._missed.set()
                if self._failing_since is not None:
                    seconds, self._failing_since = time.monotonic() - self._failing_since, None
                    self._telemetry.emit(DatabaseRecovered(purpose=_PURPOSE, seconds=seconds))
                # Also what others commit only later.
                self._producer.notified(0)
                self._canceller.wake()
                self._scheduler.expect(0)
            case Failed(error):
                self._failing_since = self._failing_since or time.monotonic()
                self._telemetry.emit(DatabaseFailed(purpose=_PURPOSE, error=error))
