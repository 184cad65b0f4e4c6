"""Unknown names: what a worker is given, and nothing else knows, is logged when it starts.

A queue that is misspelt has no jobs, and an environment variable that is misspelt no effect: neither is an
error, as jobs and options may come later, and both look like a worker that does nothing.
"""

import os
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Final

from taskq import queries
from taskq.escaping import get_logger
from taskq.messages import short_repr
from taskq.queries.filters import Filter
from taskq.worker.connection import WorkerConnection
from taskq.worker.options import ENVIRONMENT_PREFIX, unknown_variables
from taskq.worker.service import Service

logger: Final = get_logger("taskq.worker.unknown_names")


class UnknownNames(Service):
    """Looks once.

    Args:
        connection: A connection, which may be shared.
        queues: The queues that the worker serves; None: all.
        task_queues: The queues that the app's own tasks defer to.
    """

    def __init__(
        self,
        connection: WorkerConnection,
        *,
        queues: Sequence[str] | None,
        task_queues: Collection[str],
    ) -> None:
        self._connection = connection
        self._queues = queues or ()
        self._task_queues = task_queues

    async def loop(self) -> None:
        """Look at the environment, and at queues that no task of the app defers to."""
        for variable, meant in unknown_variables(os.environ).items():
            logger.warning(
                "the variable %s has no effect, as a worker has no option %s%s",
                short_repr(variable),
                short_repr(variable.removeprefix(ENVIRONMENT_PREFIX).lower()),
                f": did you mean {meant}?" if meant else "",
                extra={"action": "variable_unknown", "variable": variable},
            )
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
                close = get_close_matches(queue, known, n=1)
                logger.warning(
                    "no task of this app defers to the queue %s, and no job that is kept is in it%s",
                    short_repr(queue),
                    f": did you mean {short_repr(close[0])}?" if close else "",
                    extra={"action": "queue_unknown", "queue": queue},
                )
