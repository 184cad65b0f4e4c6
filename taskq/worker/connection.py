"""A service's connection to the database, which comes back by itself."""

import asyncio
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine

from taskq.database.backoff import Backoff
from taskq.database.connection import DedicatedConnection
from taskq.queries.connection import Connection
from taskq.telemetry import DatabaseFailed, DatabaseFailing, DatabaseRecovered, Telemetry

P = ParamSpec("P")
T = TypeVar("T")


class WorkerConnection(DedicatedConnection):
    """A dedicated connection whose operations may be tried again until they succeed.

    Args:
        engine: Makes the connection.
        purpose: What it is for, in logs.
        telemetry: Told of bad moments of the database.
        bound: Seconds after which a statement has been given up, and its connection if need be.
        alarm_after: Seconds of failures after which that is an error, and not a bad moment.
        pooler: Whether a pooler stands between, so that nothing may be prepared.
        prepare: Run on each new connection.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        purpose: str,
        *,
        telemetry: Telemetry,
        bound: float = 15.0,
        alarm_after: float = 30.0,
        pooler: bool = False,
        prepare: Callable[[Connection], None] | None = None,
    ) -> None:
        super().__init__(engine, purpose, bound=bound, pooler=pooler, prepare=prepare)
        self._telemetry = telemetry
        self._alarm_after = alarm_after
        self._failing_since: float | None = None
        self._alarmed = False
        self._reported_at: float | None = None
        self.runs: int = 0

    @property
    def is_failing(self) -> bool:
        """Whether its last operation has failed."""
        return self._failing_since is not None

    def hurry(self, seconds: float) -> None:
        """Give the operation under way, if there is one, no more than so many seconds."""
        limit = self._limit
        if limit is not None and not limit.expired():
            soon = asyncio.get_running_loop().time() + seconds
            limit.reschedule(min(soon, limit.when() or soon))

    async def run(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation, once. Cancelling it takes a moment at most, whatever the server does.

        Raises:
            SchemaNotApplied: The database does not have taskq's schema.
            DatabaseUnavailable: The database does not answer.
            Exception: Whatever else the operation raises.
        """
        async with self._busy:
            self.runs += 1
            began = time.monotonic()
            try:
                async with self._dropped_on_error(), self._bounded():
                    connection = self._connection or await self._connect()
                    done = await self._complete(connection, operation, *args, **kwargs)
            except Exception as error:
                self._fails(began, error)
                raise
            self._failing_since, self._alarmed = None, False
            self._recover()
            return done

    async def retry(
        self,
        operation: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation until it succeeds; a failure is reported once."""
        backoff = Backoff()
        failed = False
        while True:
            try:
                return await self.run(operation, *args, **kwargs)
            except Exception as error:
                if not failed:
                    self.report(error)
                failed = True
            await backoff.wait()

    def report(self, error: Exception) -> None:
        """Tell of a failure that will be tried again; the next success is told, too."""
        self._reported_at = self._reported_at or time.monotonic()
        self._telemetry.emit(DatabaseFailed(purpose=self.purpose, error=error))

    def _fails(self, began: float, error: Exception) -> None:
        if self._failing_since is None:
            self._failing_since = began
        failing_for = time.monotonic() - self._failing_since
        if failing_for > self._alarm_after and not self._alarmed:
            self._alarmed = True
            self._telemetry.emit(
                DatabaseFailing(purpose=self.purpose, error=error, seconds=failing_for)
            )

    def _recover(self) -> None:
        if self._reported_at is not None:
            seconds, self._reported_at = time.monotonic() - self._reported_at, None
            self._telemetry.emit(DatabaseRecovered(purpose=self.purpose, seconds=seconds))
