"""Unknown names: what a worker is given, and nothing else knows, is logged when it starts.

A queue that is misspelt has no jobs, and an environment variable that is misspelt no effect: neither is an
error, as jobs and options may come later, and both look like a worker that does nothing.
"""

import os
from collections.abc import Collection, Sequence

from taskq import queries
from taskq.messages import closest
from taskq.queries.filters import Filter
from taskq.telemetry import QueueUnknown, Telemetry, VariableUnknown
from taskq.worker.connection import WorkerConnection
from taskq.worker.options import unknown_variables
from taskq.worker.service import Service


class UnknownNames(Service):
    """Looks once.

    Args:
        connection: A connection, which may be shared.
        telemetry: Told of each.
        queues: The queues that the worker serves; None: all.
        task_queues: The queues that the app's own tasks defer to.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        *,
        telemetry: Telemetry,
        queues: Sequence[str] | None,
        task_queues: Collection[str],
    ) -> None:
        self._connection = connection
        self._telemetry = telemetry
        self._queues = queues or ()
        self._task_queues = task_queues

    async def loop(self) -> None:
        """Look at the environment, and at queues that no task of the app defers to."""
        for variable, meant in unknown_variables(os.environ).items():
            self._telemetry.emit(VariableUnknown(variable=variable, meant=meant))
        doubtful = [queue for queue in self._queues if queue not in self._task_queues]
        if not doubtful:
            return
        try:
            counts = await self._connection.run(queries.job_count.count_jobs, Filter())
        except Exception as error:
            self._connection.report(error)
            return  # a hint is not worth a second try
        known = {count.queue for count in counts} | set(self._task_queues)
        for queue in doubtful:
            if queue not in known:
                self._telemetry.emit(QueueUnknown(queue=queue, meant=closest(queue, known)))
