"""The connections of a worker: to which server, with what set on their sessions, with which bounds."""

from collections.abc import Callable
from functools import partial

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from taskq.database import Database
from taskq.manager import operations
from taskq.worker.link import Link
from taskq.worker.options import WorkerOptions


class Links:
    """Makes the links of a worker, and closes those that nobody else does.

    Args:
        engine: The app's.
        options: The worker's.
        check: Run on each new connection for claims, before anything else.
    """

    def __init__(
        self, engine: AsyncEngine, options: WorkerOptions, *, check: Callable[[Connection], None]
    ) -> None:
        self._engine = engine
        self._options = options
        self._direct = (
            Database.resolve(options.listen_database) if options.listen_database else None
        )
        self._bound = partial(operations.bound_statements, seconds=options.server_bound)
        self.shared: Link = self._link("scheduling, aborting and rescuing")
        self.claims: Link = self._link("claiming", prepare=self._tune, check=check)
        self.completions: Link = self._link("completing", prepare=self._tune)
        self.pruning: Link = self._link("pruning")
        self.heartbeat: Link = self._link("heartbeat", seconds=options.heartbeat_bound)
        self.listening: Link = Link(
            self._direct.async_engine if self._direct else engine,
            "listening",
            bound=options.statement_bound,
            alarm_after=options.stalled_worker_timeout,
            prepare=self._bound,
        )

    async def close(self) -> None:
        """Close what the worker's parts do not close themselves."""
        for link in (self.shared, self.claims, self.completions, self.listening):
            await link.close()
        if self._direct is not None:
            await self._direct.close_async()

    def _link(
        self,
        purpose: str,
        *,
        seconds: float | None = None,
        prepare: Callable[[Connection], None] | None = None,
        check: Callable[[Connection], None] | None = None,
    ) -> Link:
        # Behind a pooler what is set on a session would be another client's a moment later.
        first = None if self._direct else prepare or self._bound

        def prepared(connection: Connection) -> None:
            for do in (first, check):
                if do is not None:
                    do(connection)

        return Link(
            self._engine,
            purpose,
            bound=seconds or self._options.statement_bound,
            alarm_after=self._options.stalled_worker_timeout,
            prepare=prepared,
        )

    def _tune(self, connection: Connection) -> None:
        operations.tune_session(connection)
        self._bound(connection)
