"""The job manager: what may be done to jobs, each operation in a sync and an async twin."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final, Self

from sqlalchemy import Connection, Engine

from taskq import queries
from taskq.database.database import Database
from taskq.database.executor import AnyConnection, borrowed, check_connection, pooled, reading
from taskq.database.sync_async import async_method
from taskq.exceptions import InvalidOption
from taskq.job import Job, JobStatus
from taskq.manager.bounds import check_count
from taskq.manager.changing import Changing
from taskq.manager.reading import Reading
from taskq.outcome import Outcome
from taskq.queries.job_claim import LARGEST_CLAIM


class JobManager(Reading, Changing):
    """Operates on the jobs of one database. Each method has an async twin, named ``…_async``.

    An operation is a round trip of its own; that of ``on(connection)`` is in that connection's transaction.

    All of them raise ``SchemaNotApplied`` on a database without taskq's schema, and
    ``DatabaseUnavailable`` if the database does not answer.

    Args:
        database: Where the jobs are; or what finds it.
    """

    def on(self, connection: AnyConnection) -> Self:
        """Make a manager whose operations are in the transaction of a connection or session.

        So is what would else go page by page, each in a transaction of its own. What fails leaves the
        transaction as it was. Others wait for what it has locked, until it ends.

        Args:
            connection: A SQLAlchemy ``Connection`` or ``Session``, or a ``psycopg.Connection``; for the
                async methods their async twins.

        Raises:
            InvalidDatabase: It is none of these, in a pipeline, or of the app's own engine, in autocommit.
                What only a round trip can tell is refused by the operations.
        """
        check_connection(connection)
        return self._twin(_connection=connection)

    def fetch(
        self, worker_id: int, queues: Sequence[str] | None = None, max_jobs: int = 1
    ) -> list[Job]:
        """Claim the next jobs for a worker: from then on they are doing.

        Args:
            worker_id: A worker that is registered, and says that it is alive: the jobs of any other
                are given to somebody else when ``stalled_worker_timeout`` is over.
            queues: The queues it serves; None: all.
            max_jobs: How many jobs at most, from 1 to 1,000.

        Returns:
            The jobs, of which ``worker_id`` and ``claim`` are the fencing token.

        Raises:
            InvalidOption: ``max_jobs`` is none of these.
        """
        check_count("max_jobs", max_jobs, LARGEST_CLAIM, InvalidOption)
        return self._run(queries.job_claim.claim_jobs, worker_id, queues, max_jobs)

    fetch_async: Final = async_method(fetch)

    def finish(self, worker_id: int, outcomes: Sequence[Outcome]) -> dict[int, JobStatus]:
        """Write how attempts of a worker ended, many at once, all or none.

        Args:
            worker_id: The worker.
            outcomes: How each of them ended.

        Returns:
            What has become of the jobs that were still this worker's, by their ids. The others have moved on,
            and nothing was written for them.
        """
        return self._run(queries.job_finish.finish_jobs, worker_id, outcomes)

    finish_async: Final = async_method(finish)

    def _connect(self, database: Database, engine: Engine) -> AbstractContextManager[Connection]:
        # A caller's own may have listeners for what it executes.
        if database.made(engine):
            return pooled(engine)
        return _connected(engine, pooler=database.pooler)


@contextmanager
def _connected(engine: Engine, *, pooler: bool) -> Iterator[Connection]:
    with borrowed(engine, pooler=pooler) as connection, reading(connection):
        yield connection
