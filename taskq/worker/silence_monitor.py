"""SilenceMonitor: transactions of tasks whose connection went silent are ended.

What a task sends in its transaction may take as long as it likes. But a connection can go silent for ever
without being closed, and the task would wait for ever. So the server is asked, on another connection, of
those that have waited for long: if it has had nothing of a transaction meanwhile, or does not have it any
more, the connection is cut, and the attempt fails as with any that is lost.
"""

import asyncio

from taskq import queries
from taskq.database.connection import cut
from taskq.queries.connection import Driver
from taskq.worker.connection import WorkerConnection
from taskq.worker.service import Service
from taskq.worker.transactions import Transactions


class SilenceMonitor(Service):
    """Cuts connections of open transactions that no answer comes from.

    Args:
        connection: A connection, which may be shared.
        transactions: The transactions.
        bound: Seconds for which both sides have waited for the other before it is cut.
    """

    def __init__(
        self, connection: WorkerConnection, transactions: Transactions, *, bound: float
    ) -> None:
        self._connection = connection
        self._transactions = transactions
        self._bound = bound

    async def loop(self) -> None:
        """Look for them, and wait."""
        loop = asyncio.get_running_loop()
        since: dict[Driver, float] = {}
        failed = False
        while True:
            await asyncio.sleep(self._bound / 3)
            waiting, now = self._transactions.waiting(), loop.time()
            since = {driver: since.get(driver, now) for driver in waiting}
            long = {
                driver: begun
                for driver, begun in waiting.items()
                if now - since[driver] >= self._bound
            }
            if not long:
                continue
            try:
                silent = await self._connection.run(
                    queries.job_commit.end_silent_transactions,
                    list(long.values()),
                    idle_for=self._bound,
                )
                failed = False
            except Exception as error:
                if not failed:
                    self._connection.report(error)
                failed = True
                continue
            still = self._transactions.waiting()
            for driver, begun in long.items():
                if begun.pid in silent and still.get(driver) == begun:
                    cut(driver)
