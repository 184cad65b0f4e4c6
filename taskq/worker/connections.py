"""The connections of a worker: to which server, with what set on their sessions, with which bounds."""

from collections.abc import Callable, Mapping

from taskq.database.database import Database
from taskq.database.session_settings import SESSION_SETTINGS
from taskq.queries.connection import Connection
from taskq.queries.session import prepare_session
from taskq.telemetry import Telemetry
from taskq.worker.connection import WorkerConnection
from taskq.worker.options import WorkerOptions

# For claims and ends: the planner's guesses about the claim's recursion are far too high, and just-in-time
# compilation and planning for each call cost more than the claim.
TUNED: Mapping[str, str] = {"jit": "off", "plan_cache_mode": "force_generic_plan"}


class WorkerConnections:
    """Makes the connections of a worker, and closes those that no service closes.

    Args:
        database: The app's.
        options: The worker's.
        telemetry: Told of bad moments of the database.
        check: Run on each new connection for claims, before anything else.
    """

    def __init__(
        self,
        database: Database,
        options: WorkerOptions,
        *,
        telemetry: Telemetry,
        check: Callable[[Connection], None],
    ) -> None:
        self._options = options
        self._telemetry = telemetry
        self.database: Database = database
        direct = options.listen_database
        # Another worker's too, if both are in this process and listen there.
        self.listening: Database = database.direct(direct) if direct else database
        self.shared: WorkerConnection = self._make("scheduling, aborting and rescuing")
        self.claims: WorkerConnection = self._make("claims", settings=TUNED, check=check)
        self.completions: WorkerConnection = self._make("completing", settings=TUNED)
        self.pruning: WorkerConnection = self._make("pruning")
        self.heartbeat: WorkerConnection = self._make("heartbeat", seconds=options.heartbeat_bound)

    @property
    def failing(self) -> list[str]:
        """What those are for on which the last statement failed, of those that are needed for jobs."""
        return [
            connection.purpose
            for connection in (self.claims, self.completions, self.shared)
            if connection.is_failing
        ]

    async def close(self) -> None:
        """Close what the worker's services do not close themselves."""
        for connection in (self.shared, self.claims, self.completions):
            await connection.close()

    def _make(
        self,
        purpose: str,
        *,
        seconds: float | None = None,
        settings: Mapping[str, str] | None = None,
        check: Callable[[Connection], None] | None = None,
    ) -> WorkerConnection:
        options, database = self._options, self.database
        engine = database.async_engine
        # A statement that the worker has given up, on a connection that went silent, would otherwise go
        # on, and keep its locks, for as long as it likes.
        bound = {"statement_timeout": str(round(1000 * options.server_bound))}
        # An engine made here has set the first of these already, below what its URL says.
        theirs = {} if database.made(engine.sync_engine) else SESSION_SETTINGS
        wanted = {**theirs, **bound, **(settings or {})}
        # Behind a pooler what is set on a session would be another client's a moment later.
        is_shared = database.pooler or options.listen_database

        def prepare(connection: Connection) -> None:
            if not is_shared:
                prepare_session(connection, wanted)
            if check is not None:
                check(connection)

        return WorkerConnection(
            engine,
            purpose,
            telemetry=self._telemetry,
            bound=seconds or options.statement_bound,
            alarm_after=options.stalled_worker_timeout,
            pooler=database.pooler,
            prepare=prepare,
        )
